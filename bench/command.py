"""How a benchmark ends: what failed is said in a line, and Ctrl-C or SIGTERM is no failure."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path

from devcluster.errors import DevclusterError


def ended(measure: Callable[[], None], *known: type[Exception]) -> int:
    """The exit code of a measurement. 1: a DevclusterError, or one of the known ones, which was said."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measure()
    except Exception as failure:
        error = _first(failure)
        if not isinstance(error, (DevclusterError, *known)):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def ended_in_folder(name: str, measure: Callable[[Path], Coroutine[None, None, None]]) -> int:
    """The same, for one that has a folder of its own, which goes with it."""

    def run() -> None:
        with tempfile.TemporaryDirectory(prefix=f"agentsession-{name}-") as folder:
            asyncio.run(measure(Path(folder)))

    return ended(run)


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error
