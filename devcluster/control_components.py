"""The control plane's components: etcd, API server, controller-manager and scheduler."""

from collections.abc import Mapping
from pathlib import Path

from devcluster import settings
from devcluster.components import Component
from devcluster.layout import Layout

CLIENT_RATE = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""The scheduler's default of 50 requests a second would cap what a load test measures."""


def all_components(made: Layout, programs: Mapping[str, Path]) -> list[Component]:
    """In the order in which they need each other."""
    return [build(made, programs) for build in (etcd, api_server, controller_manager, scheduler)]


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
