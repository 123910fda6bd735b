"""Fills what every container can write besides its volumes. Prints what fitted, and how the container's memory grew."""

import ctypes
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

USAGE = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
CHUNK = bytes(1 << 20)
MOST = 1 << 30
MESSAGES, MESSAGE_BYTES = 10, 8192


def used() -> int:
    """Memory of this container."""
    return next(int(Path(path).read_text()) for path in USAGE if Path(path).exists())


def fill(path: Path) -> int:
    """Bytes that a file there can have."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    size = 0
    with suppress(OSError):
        while size < MOST:
            size += os.write(file, CHUNK)
    return size


def queues() -> int:
    """Bytes of POSIX message queues that can be made."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = (ctypes.c_long * 8)(0, MESSAGES, MESSAGE_BYTES)
    count = 0
    while count < MOST and libc.mq_open(b"/q%d" % count, os.O_CREAT | os.O_RDWR, 0o600, ctypes.byref(attributes)) >= 0:
        count += 1
    return count * MESSAGES * MESSAGE_BYTES


def main() -> None:
    """Fill both."""
    before = used()
    path = Path("/dev/shm/fill")  # noqa: S108
    shm = fill(path)
    grown = used() - before
    json.dump({"shm": shm, "grown": grown, "mqueue": queues()}, sys.stdout)
    path.unlink()


main()
