"""The node's components: runtime, kubelet, service proxy, policies, DNS and volumes, all as host processes."""

from collections.abc import Mapping
from pathlib import Path

from devcluster import node_config, settings
from devcluster.components import Component
from devcluster.layout import Layout


def all_components(made: Layout, programs: Mapping[str, Path], helper_image: str) -> list[Component]:
    """The container runtime first: images can be imported as soon as it runs."""
    return [
        *(build(made, programs) for build in (containerd, kubelet, kube_proxy, kube_router, coredns)),
        local_path_provisioner(made, programs, helper_image),
    ]


def containerd(made: Layout, programs: Mapping[str, Path]) -> Component:
    """The container runtime."""
    arguments = ("--config", str(made.etc / "containerd.toml"))
    return Component("containerd", (str(programs["containerd"]), *arguments), f"unix:{node_config.SOCKET}")


def kubelet(made: Layout, programs: Mapping[str, Path]) -> Component:
    """The node agent; its addresses are given, because the node's name resolves nowhere."""
    arguments = (
        f"--config={made.etc / 'kubelet.yaml'}",
        f"--kubeconfig={made.kubeconfig_of('kubelet')}",
        f"--root-dir={made.root / 'kubelet'}",
        f"--hostname-override={settings.NODE_NAME}",
        f"--node-ip={settings.NODE_IP}",
    )
    return Component("kubelet", (str(programs["kubelet"]), *arguments), _local(made, "kubelet-health", "healthz"))


def kube_proxy(made: Layout, programs: Mapping[str, Path]) -> Component:
    """Services by iptables; leaves the host's connection tracking limits and loopback routing alone."""
    arguments = (
        f"--kubeconfig={made.kubeconfig_of('kube-proxy')}",
        f"--hostname-override={settings.NODE_NAME}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={settings.POD_CIDR}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--iptables-localhost-nodeports=false",
        f"--healthz-bind-address={settings.LOOPBACK}:{made.ports['kube-proxy']}",
        f"--metrics-bind-address={settings.LOOPBACK}:{made.ports['kube-proxy-metrics']}",
    )
    return Component("kube-proxy", (str(programs["kube-proxy"]), *arguments), _local(made, "kube-proxy", "healthz"))


def kube_router(made: Layout, programs: Mapping[str, Path]) -> Component:
    """Enforces NetworkPolicy and does nothing else."""
    arguments = (
        f"--kubeconfig={made.kubeconfig}",
        f"--hostname-override={settings.NODE_NAME}",
        "--run-firewall=true",
        "--run-router=false",
        "--run-service-proxy=false",
        f"--service-cluster-ip-range={settings.SERVICE_CIDR}",
        f"--health-port={made.ports['kube-router']}",
    )
    return Component("kube-router", (str(programs["kube-router"]), *arguments), _local(made, "kube-router", "healthz"))


def coredns(made: Layout, programs: Mapping[str, Path]) -> Component:
    """Cluster DNS on the bridge; a Service without selector points to it."""
    arguments = ("-conf", str(made.etc / "Corefile"))
    return Component("coredns", (str(programs["coredns"]), *arguments), _local(made, "coredns", "ready"))


def local_path_provisioner(made: Layout, programs: Mapping[str, Path], helper_image: str) -> Component:
    """Makes a folder for each claim, by a pod of the base image."""
    arguments = (
        "start",
        f"--kubeconfig={made.kubeconfig}",
        "--namespace=local-path-storage",
        f"--config={made.etc / 'local-path.json'}",
        f"--helper-image={helper_image}",
    )
    name = "local-path-provisioner"
    return Component(name, (str(programs[name]), *arguments))


def _local(made: Layout, user: str, path: str) -> str:
    return f"http://{settings.LOOPBACK}:{made.ports[user]}/{path}"
