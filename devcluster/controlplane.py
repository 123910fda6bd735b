"""etcd, API server, controller-manager and scheduler; alone they are what a controller test needs.

>>> with ControlPlane(tmp_path / "cluster") as plane:    # doctest: +SKIP
...     subprocess.run(["kubectl", "--kubeconfig", plane.kubeconfig, "get", "namespaces"])
"""

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from devcluster import binaries, components, files, kubectl, layout, processes, settings
from devcluster.components import Component
from devcluster.layout import Layout

FOLDERS = ("etcd", "pki", "kubeconfig", "etc")
"""What ``stop`` deletes; logs stay until the next start."""

CLIENT_RATE = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""The scheduler's default of 50 requests a second would cap what a load test measures."""


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
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(state: Path, *, die_with_parent: bool = False) -> Layout:
    """Starts a control plane on loopback, or repairs the one that this folder holds."""
    programs = binaries.resolve(binaries.CONTROL_PLANE)
    with lock(state):
        made = layout.create(state, settings.LOOPBACK)
        ensure(made, programs, die_with_parent=die_with_parent)
    return made


def ensure(made: Layout, programs: Mapping[str, Path], *, die_with_parent: bool = False) -> None:
    """Brings up the control plane of an existing layout, storage first, to where a pod would be admitted."""
    storage, server, *controllers = all_components(made, programs)
    for group in ([storage], [server], controllers):
        components.ensure(made, group, die_with_parent=die_with_parent)
    account = ("--for=create", "--namespace=default", "serviceaccount/default", "--timeout=30s")
    kubectl.run(programs["kubectl"], made.kubeconfig, "wait", *account)


def all_components(made: Layout, programs: Mapping[str, Path]) -> list[Component]:
    """In the order in which they need each other."""
    return [build(made, programs) for build in (etcd, api_server, controller_manager, scheduler)]


def stop(state: Path) -> None:
    """Kills a control plane that runs without a node, and deletes all but its logs."""
    with lock(state):
        processes.kill(state)
        forget(state, FOLDERS)


def lock(state: Path) -> AbstractContextManager[None]:
    """One start or stop at a time. The lock lies beside the folder, because ``stop`` empties it."""
    return files.locked(state.with_name(f".{state.name}.lock"))


def forget(state: Path, folders: tuple[str, ...]) -> None:
    """Deletes the named folders, then the record of the cluster. Never more than that: the user chose ``state``."""
    for name in folders:
        if (state / name).exists():
            shutil.rmtree(state / name)
    (state / "cluster.json").unlink(missing_ok=True)


def etcd(made: Layout, programs: Mapping[str, Path]) -> Component:
    """Without fsync: a test cluster may lose its data with the machine."""
    client = f"http://{settings.LOOPBACK}:{made.ports['etcd']}"
    peer = f"http://{settings.LOOPBACK}:{made.ports['etcd-peer']}"
    arguments = (
        "--name=devcluster",
        f"--data-dir={made.root / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=devcluster={peer}",
        "--unsafe-no-fsync",
        "--logger=zap",
        "--log-level=warn",
    )
    return Component("etcd", (str(programs["etcd"]), *arguments), f"{client}/health")


def api_server(made: Layout, programs: Mapping[str, Path]) -> Component:
    """Keeps the endpoint of the ``kubernetes`` Service only with a node: a loopback address is not a valid one."""
    arguments = (
        f"--etcd-servers=http://{settings.LOOPBACK}:{made.ports['etcd']}",
        f"--bind-address={made.host}",
        f"--advertise-address={made.host}",
        f"--secure-port={made.ports['kube-apiserver']}",
        f"--endpoint-reconciler-type={'none' if made.host == settings.LOOPBACK else 'lease'}",
        f"--service-cluster-ip-range={settings.SERVICE_CIDR}",
        f"--tls-cert-file={made.certificate('apiserver-serving')}",
        f"--tls-private-key-file={made.key('apiserver-serving')}",
        f"--client-ca-file={made.certificate('ca')}",
        f"--service-account-issuer=https://kubernetes.default.svc.{settings.CLUSTER_DOMAIN}",
        f"--service-account-key-file={made.root / 'pki' / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={made.key('service-accounts')}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=false",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={made.certificate('ca')}",
        f"--kubelet-client-certificate={made.certificate('apiserver-to-kubelet')}",
        f"--kubelet-client-key={made.key('apiserver-to-kubelet')}",
    )
    return Component("kube-apiserver", (str(programs["kube-apiserver"]), *arguments), f"{made.server}/readyz")


def controller_manager(made: Layout, programs: Mapping[str, Path]) -> Component:
    """All controllers, each with its own service account as on any cluster."""
    return _controller(
        made,
        programs,
        "kube-controller-manager",
        "--use-service-account-credentials=true",
        f"--root-ca-file={made.certificate('ca')}",
        f"--service-account-private-key-file={made.key('service-accounts')}",
        f"--cluster-signing-cert-file={made.certificate('ca')}",
        f"--cluster-signing-key-file={made.key('ca')}",
    )


def scheduler(made: Layout, programs: Mapping[str, Path]) -> Component:
    """The default scheduler, unthrottled."""
    return _controller(made, programs, "kube-scheduler")


def _controller(made: Layout, programs: Mapping[str, Path], name: str, *arguments: str) -> Component:
    config = made.kubeconfig_of(name)
    port = made.ports[name]
    common = (
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
        *CLIENT_RATE,
        f"--bind-address={settings.LOOPBACK}",
        f"--secure-port={port}",
        f"--tls-cert-file={made.certificate('local-serving')}",
        f"--tls-private-key-file={made.key('local-serving')}",
    )
    return Component(name, (str(programs[name]), *common, *arguments), f"https://{settings.LOOPBACK}:{port}/healthz")
