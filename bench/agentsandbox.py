"""kubernetes-sigs/agent-sandbox at its pinned version: its kinds, and its controller beside a cluster."""

import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from agentsession.kube.client import ApiClient
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import Resource
from devcluster import binaries, components, processes
from devcluster.components import Component
from devcluster.kubectl import kubectl
from devcluster.layout import Layout
from tests.kube.kinds import CRDS

from .apiserver import until_followed
from .objects import made_of

EXTENSIONS = "extensions.agents.x-k8s.io"
TEMPLATES = Resource(EXTENSIONS, "v1beta1", "SandboxTemplate", "sandboxtemplates")
WARM_POOLS = Resource(EXTENSIONS, "v1beta1", "SandboxWarmPool", "sandboxwarmpools")
CLAIMS = Resource(EXTENSIONS, "v1beta1", "SandboxClaim", "sandboxclaims")
GATE = (
    "--kube-api-qps=1000",
    "--kube-api-burst=2000",
    "--sandbox-concurrent-workers=50",
    "--sandbox-claim-concurrent-workers=50",
)
"""agent-sandbox as its own gate on kwok runs it, with a burst that fits that rate."""
FRUGAL = (
    *GATE,
    "--disable-claim-events",
    "--disable-claim-observability-annotations",
    "--sandbox-write-behind-window=250ms",
)
"""With the flags that its documentation names to save writes."""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What a namespace of sessions asks of every container."""
CONTROLLER = "agent-sandbox"
PORT = 28911


@asynccontextmanager
async def controller(made: Layout, api: ApiClient, flags: tuple[str, ...]) -> AsyncIterator[int]:
    """It runs while the block does, built from its Go module, with its own CRDs, as administrator; its process id."""
    for crd in crds():
        await api.apply(CRDS, crd)
    kubectl(made.kubeconfig, "wait", "--for=condition=Established", "customresourcedefinition", "--all")
    await until_followed(made.kubeconfig, CLAIMS)
    listens = (f"--metrics-bind-address=127.0.0.1:{PORT}", f"--health-probe-bind-address=127.0.0.1:{PORT + 1}")
    program = str(binaries.resolve(["agent-sandbox-controller"])["agent-sandbox-controller"])
    argv = (program, f"--kubeconfig={made.kubeconfig}", "--extensions", "--leader-elect=false", *listens, *flags)
    component = Component(CONTROLLER, argv, f"http://127.0.0.1:{PORT + 1}/readyz")
    components.ensure(made, [component], die_with_parent=True)
    try:
        yield processes.components(made.root)[CONTROLLER].pid
    finally:
        processes.kill(made.root, CONTROLLER.__eq__)


def template(namespace: str, name: str, pod: Mapping[str, object], *, policy: str = "Managed") -> KubeObject:
    """What a pool of that namespace makes its pods from. policy: of their network; Managed admits public addresses."""
    return made_of(TEMPLATES, namespace, name, {"podTemplate": {"spec": pod}, "networkPolicyManagement": policy})


def pool(namespace: str, name: str, size: int) -> KubeObject:
    """So many sandboxes of the template of the same name."""
    return made_of(WARM_POOLS, namespace, name, {"replicas": size, "sandboxTemplateRef": {"name": name}})


def claim(namespace: str, name: str, pool: str) -> KubeObject:
    """What asks for one of the pool."""
    return made_of(CLAIMS, namespace, name, {"warmPoolRef": {"name": pool}})


def crds() -> list[KubeObject]:
    """Its CustomResourceDefinitions, from its module."""
    family = binaries.GO_MODULES / "agent-sandbox"
    command = ("go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/agent-sandbox")
    module = subprocess.run(command, cwd=family, capture_output=True, text=True, check=True).stdout.strip()
    return [yaml.safe_load(path.read_text()) for path in sorted(Path(module, "k8s/crds").glob("*.yaml"))]
