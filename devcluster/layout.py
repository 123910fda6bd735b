"""One cluster's folder: what lies where, and which ports it was given when it was first started."""

import json
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from devcluster import files, pki, settings
from devcluster.errors import DevclusterError

PORT_USERS = (
    "etcd",
    "etcd-peer",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet-health",
    "kube-proxy",
    "kube-proxy-metrics",
    "kube-router",
    "coredns",
)
PORT_RANGE = range(20000, 30000)
"""Below the kernel's ephemeral ports: no outgoing connection can take one while its component is down. And below the
node ports, 30000 to 32767: kube-router lets every pod reach those on its node, whatever its NetworkPolicy says."""


@dataclass(frozen=True)
class Layout:
    """Where one cluster lives; ``host`` is the address of its API server."""

    root: Path
    host: str
    ports: Mapping[str, int]

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.host}:{self.ports['kube-apiserver']}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.kubeconfig_of("admin")

    @property
    def etc(self) -> Path:
        """Configuration files that are rendered at each start."""
        return self.root / "etc"

    def log(self, component: str) -> Path:
        """The output of a component, all of its starts."""
        return self.root / "logs" / f"{component}.log"

    def kubeconfig_of(self, user: str) -> Path:
        """The kubeconfig of one of ``pki.CLIENTS``."""
        return self.root / "kubeconfig" / user

    def certificate(self, name: str) -> str:
        """The certificate file of a subject of ``pki``."""
        return str(self.root / "pki" / f"{name}.crt")

    def key(self, name: str) -> str:
        """The private key file of a subject of ``pki``."""
        return str(self.root / "pki" / f"{name}.key")


def load(root: Path) -> Layout | None:
    """The layout that ``create`` left in this folder, if any."""
    try:
        saved = json.loads((root / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return Layout(root, saved["host"], saved["ports"])


def create(root: Path, host: str) -> Layout:
    """Loads or makes the layout, its certificates and kubeconfigs.

    Raises:
        DevclusterError: the folder holds a cluster of the other kind (with a node, or without).
    """
    layout = load(root)
    if layout is None:
        layout = Layout(root, host, free_ports())
        files.write(root / "cluster.json", json.dumps({"host": host, "ports": layout.ports}))
    if layout.host != host:
        kinds = {settings.NODE_IP: "a cluster with a node", settings.LOOPBACK: "a control plane alone"}
        raise DevclusterError(
            f"{root} already holds {kinds[layout.host]}. End that one first (python -m devcluster down), "
            f"or set DEVCLUSTER_STATE to another folder."
        )
    (root / "logs").mkdir(exist_ok=True)
    pki.create(root / "pki")
    for user in pki.CLIENTS:
        files.write(layout.kubeconfig_of(user), kubeconfig(layout, user), 0o600)
    return layout


def free_ports() -> dict[str, int]:
    """Picks a free port for each user, at random so that two clusters starting at once hardly ever meet."""
    ports: dict[str, int] = {}
    candidates = iter(random.sample(PORT_RANGE, len(PORT_RANGE)))
    for user in PORT_USERS:
        ports[user] = next(port for port in candidates if _free(port))
    return ports


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def kubeconfig(layout: Layout, user: str) -> str:
    """A kubeconfig for a client certificate, by file name: kubelet and others re-read nothing else."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "devcluster",
                    "cluster": {"server": layout.server, "certificate-authority": layout.certificate("ca")},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {"client-certificate": layout.certificate(user), "client-key": layout.key(user)},
                }
            ],
            "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": user}}],
            "current-context": "devcluster",
        },
        sort_keys=False,
    )
