"""A component of the cluster as data, and the one way to bring any of them up."""

import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from devcluster import processes, progress
from devcluster.errors import DevclusterError
from devcluster.layout import Layout

PROBE_TIMEOUT = 2.0
START_TIMEOUT = 60.0
POLL = 0.1


@dataclass(frozen=True)
class Component:
    """A program to keep running.

    ``probe`` says when it works: an http(s) URL that answers 200, ``unix:PATH`` for a socket that accepts, or nothing
    for a program that can only be seen to run.
    """

    name: str
    argv: tuple[str, ...]
    probe: str = ""


def healthy(layout: Layout, component: Component) -> bool:
    """Whether the probe succeeds now. Does not look at the process."""
    kind, _, rest = component.probe.partition(":")
    try:
        if kind == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PROBE_TIMEOUT)
                connection.connect(rest)
        elif kind:
            context = ssl.create_default_context(cafile=layout.certificate("ca")) if kind == "https" else None
            with urllib.request.urlopen(component.probe, timeout=PROBE_TIMEOUT, context=context) as answer:  # noqa: S310
                return bool(answer.status == 200)
    except OSError:  # URLError and ssl.SSLError are OSErrors
        return False
    return True


def ensure(layout: Layout, wanted: Sequence[Component], *, die_with_parent: bool = False) -> None:
    """Starts what does not run or runs with other arguments, restarts what does not answer, waits for all.

    Raises:
        DevclusterError: a component ended or did not become healthy; with the end of its log.
    """
    if not (changed := [component for component in wanted if not _settled(layout, component)]):
        return
    with progress.step(f"starting {', '.join(component.name for component in changed)}"):
        for component in changed:
            processes.kill(layout.root, component.name.__eq__)
            log = layout.log(component.name)
            processes.start(layout.root, component.name, component.argv, log, die_with_parent=die_with_parent)
        for component in changed:
            _await(layout, component)


def _settled(layout: Layout, component: Component) -> bool:
    running = processes.components(layout.root).get(component.name)
    return running is not None and running.argv == component.argv and healthy(layout, component)


def _await(layout: Layout, component: Component) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not healthy(layout, component):
        if component.name not in processes.components(layout.root):
            raise DevclusterError(f"{component.name} ended while starting. {_log_tail(layout, component)}")
        if time.monotonic() > deadline:
            raise DevclusterError(
                f"{component.name} is not healthy after {START_TIMEOUT:.0f} s. {_log_tail(layout, component)}"
            )
        time.sleep(POLL)


def _log_tail(layout: Layout, component: Component) -> str:
    log = layout.log(component.name)
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return f"The end of {log}:\n" + "\n".join(line[:400] for line in lines)
