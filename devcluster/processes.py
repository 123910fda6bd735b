"""Starts, finds and kills the processes of one cluster.

There are no pid files: each process carries its owner and its name in its environment, and is looked up by them in
/proc. So a process whose parent died before it could note the pid is still found, and a pid that was used again is
never taken for ours. Kills go through a pidfd that is checked after it was opened.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError

OWNER = "DEVCLUSTER_OWNER"
NAME = "DEVCLUSTER_COMPONENT"

EXEC_LOOKS = 50
"""How often to look, one millisecond apart, at a process that is just being replaced by another program."""

KILL_TIMEOUT = 20.0
"""Seconds that killed processes may take to vanish."""


@dataclass(frozen=True)
class Process:
    """A running process of a cluster; containers have no name of their own and are called ``container``."""

    pid: int
    name: str
    argv: tuple[str, ...]


def start(owner: Path, name: str, argv: tuple[str, ...], log: Path, *, die_with_parent: bool = False) -> None:
    """Starts a process in its own session, its output appended to ``log``.

    With ``die_with_parent`` the kernel kills it when the thread that called this ends, however it ends.
    """
    tie = ("setpriv", "--pdeathsig", "KILL", "--") if die_with_parent else ()
    command = (*tie, *argv)
    os.posix_spawnp(
        command[0],
        command,
        {**os.environ, OWNER: str(owner), NAME: name},
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
        ],
    )


def _inheritable() -> list[int]:
    """What a child would keep open beside its standard streams, such as a lock that somebody holds around this."""
    found = []
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # the one that listed the folder is closed by now
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


def owned(owner: Path) -> list[Process]:
    """Every living process of this cluster, containers included."""
    found = (_identify(int(entry.name), owner) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [process for process in found if process]


def components(owner: Path) -> dict[str, Process]:
    """The living components by name, without the children that they started."""
    processes = owned(owner)
    pids = {process.pid for process in processes}
    return {process.name: process for process in processes if _parent(process.pid) not in pids}


def kill(owner: Path, select_name: Callable[[str], bool] = lambda _: True) -> None:
    """Kills all processes whose name is selected, and waits until they are gone.

    Repeats until none is left, because a process may have started another while it was being killed.

    Raises:
        DevclusterError: some did not go.
    """
    deadline = time.monotonic() + KILL_TIMEOUT
    while doomed := [process for process in owned(owner) if select_name(process.name)]:
        if time.monotonic() > deadline:
            left = ", ".join(f"{process.name} ({process.pid})" for process in doomed)
            raise DevclusterError(f"Killed, but still there after {KILL_TIMEOUT:.0f} s: {left}")
        _kill_all(owner, doomed)


def _kill_all(owner: Path, doomed: Iterable[Process]) -> None:
    handles: dict[int, int] = {}
    try:
        for process in doomed:
            with suppress(ProcessLookupError):
                handle = os.pidfd_open(process.pid)
                handles[handle] = process.pid
                if _identify(process.pid, owner):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        for handle, pid in handles.items():
            select.select([handle], [], [], 1.0)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # else our own dead children would stay as zombies
    finally:
        for handle in handles:
            os.close(handle)


def _identify(pid: int, owner: Path) -> Process | None:
    folder = Path("/proc") / str(pid)
    try:
        if not (argv := _argv(folder)):
            return None
        environment = _environment(folder)
        if environment.get(OWNER) == str(owner):
            return Process(pid, environment.get(NAME, ""), argv)
        return Process(pid, "container", argv) if _is_container(folder, owner) else None
    except (OSError, ValueError):  # it ended while we looked, or is another user's
        return None


def _argv(folder: Path) -> tuple[str, ...]:
    """Empty for kernel threads and zombies, which have no program, and for a moment within every exec."""
    for _ in range(EXEC_LOOKS):
        parts = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
        if parts or not (folder / "exe").readlink():
            break
        time.sleep(0.001)
    return tuple(map(os.fsdecode, parts))


def _environment(folder: Path) -> dict[str, str]:
    entries = (os.fsdecode(entry).partition("=") for entry in (folder / "environ").read_bytes().split(b"\0"))
    return {name: value for name, _, value in entries}


def _is_container(folder: Path, owner: Path) -> bool:
    """A container's environment is its image's, but its root is an overlay whose upper folder lies in ours."""
    return any(
        fields[4] == "/" and f"upperdir={owner}/" in line
        for line in (folder / "mountinfo").read_text(errors="replace").splitlines()
        if len(fields := line.split(" ")) > 4
    )


def _parent(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
