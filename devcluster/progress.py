"""Progress as plain lines on stderr, so that stdout stays free for results and CI logs stay readable."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

DOT_EVERY = 10.0
"""Seconds between two signs of life of a long step."""

_START = time.monotonic()


def say(text: str) -> None:
    """Prints one line, led by the seconds since the program started."""
    print(f"{time.monotonic() - _START:6.1f} s  {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Prints ``text`` at once, a dot every ten seconds, and at the end how long it took."""
    begin = time.monotonic()
    over = threading.Event()

    def dots() -> None:
        while not over.wait(DOT_EVERY):
            print(".", end="", file=sys.stderr, flush=True)

    print(f"{begin - _START:6.1f} s  {text} ...", end="", file=sys.stderr, flush=True)
    ticker = threading.Thread(target=dots, daemon=True)
    ticker.start()
    outcome = "failed after "
    try:
        yield
        outcome = ""
    finally:
        over.set()
        ticker.join()
        print(f" {outcome}{time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
