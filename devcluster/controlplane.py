"""etcd, API server, controller-manager and scheduler; alone they are what a controller test needs.

>>> with ControlPlane(tmp_path / "cluster") as plane:    # doctest: +SKIP
...     subprocess.run(["kubectl", "--kubeconfig", plane.kubeconfig, "get", "namespaces"])
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from devcluster import binaries, components, control_components, files, layout, processes, progress, settings
from devcluster.kubectl import kubectl
from devcluster.layout import Layout

FOLDERS = ("etcd", "pki", "kubeconfig", "etc")
"""What ``stop`` deletes; logs stay until the next start."""


class ControlPlane:
    """A control plane of its own folder and ports; as many as one likes can run side by side.

    Its processes die with the thread that started them. After any of them was killed, ``start`` again repairs it.
    """

    def __init__(self, state: Path) -> None:
        self.state = state.resolve()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; exists once started."""
        return self.state / "kubeconfig" / "admin"

    def start(self) -> Layout:
        """Starts what is not running; returns when the API server is ready."""
        return start(self.state, die_with_parent=True)

    def stop(self) -> None:
        """Kills everything and deletes all but the logs."""
        stop(self.state)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(state: Path, *, die_with_parent: bool = False) -> Layout:
    """Starts a control plane on loopback, or repairs the one that this folder holds."""
    programs = binaries.resolve(binaries.CONTROL_PLANE)
    with starting(state, _stop):
        made = layout.create(state, settings.LOOPBACK)
        ensure(made, programs, die_with_parent=die_with_parent)
    return made


@contextmanager
def starting(state: Path, undo: Callable[[Path], None]) -> Iterator[None]:
    """Holds the cluster's lock. A first start that fails or is interrupted is undone; a repair is not."""
    with lock(state):
        first = layout.load(state) is None
        try:
            yield
        except BaseException:
            if first:
                with progress.step("taking down what was started"):
                    undo(state)
            raise


def ensure(made: Layout, programs: Mapping[str, Path], *, die_with_parent: bool = False) -> None:
    """Brings up the control plane of an existing layout, storage first, to where a pod would be admitted."""
    storage, server, *controllers = control_components.all_components(made, programs)
    for group in ([storage], [server], controllers):
        components.ensure(made, group, die_with_parent=die_with_parent)
    account = ("--for=create", "--namespace=default", "serviceaccount/default", "--timeout=30s")
    kubectl(made.kubeconfig, "wait", *account)


def stop(state: Path) -> None:
    """Kills a control plane that runs without a node, and deletes all but its logs."""
    with lock(state):
        _stop(state)


def _stop(state: Path) -> None:
    processes.kill(state)
    forget(state, FOLDERS)


def lock(state: Path) -> AbstractContextManager[None]:
    """One start or stop at a time. The lock lies beside the folder, because ``stop`` empties it."""
    busy = f"{state}: another start or stop is running, waiting"
    return files.locked(state.with_name(f".{state.name}.lock"), lambda: progress.say(busy))


def forget(state: Path, folders: tuple[str, ...]) -> None:
    """Deletes the named folders, and last the record of the cluster, without which nothing is deleted.

    Never more than that: the user chose ``state``, and it may hold anything.
    """
    if layout.load(state) is None:
        return
    for name in folders:
        if (state / name).exists():
            shutil.rmtree(state / name)
    (state / "cluster.json").unlink()
