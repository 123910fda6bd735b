"""What is measured side by side: AgentSession's pools and kubernetes-sigs/agent-sandbox, as one client sees both."""

import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from agentsession.kube.client import ApiClient
from agentsession.kube.objects import KubeObject, condition_of
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, Resource
from devcluster import binaries, components, processes
from devcluster.components import Component
from devcluster.kubectl import kubectl
from tests.kube.kinds import CRDS
from tests.scale.world import MODEL, NAMESPACES, World

NAMESPACE = NAMESPACES[0]
POOL = "pool"
EXTENSIONS = "extensions.agents.x-k8s.io"
SANDBOXES = Resource("agents.x-k8s.io", "v1beta1", "Sandbox", "sandboxes")
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
"""What the namespace asks of every pod."""
CONTROLLER = "agent-sandbox"
PORT = 28911


class Contender(Protocol):
    """A controller that runs, and what a client makes of it."""

    @property
    def name(self) -> str:
        """As the table says it."""
        ...

    @property
    def pools(self) -> Resource:
        """The kind of its pools."""
        ...

    @property
    def claims(self) -> Resource:
        """The kind of what asks for a member of a pool."""
        ...

    def pool(self, size: int) -> KubeObject:
        """A pool of so many."""
        ...

    def claim(self, name: str) -> KubeObject:
        """What asks for one of them."""
        ...

    @property
    def pid(self) -> int:
        """Of the process that serves claims."""
        ...


def is_ready(claim: KubeObject) -> bool:
    """Whether it says Ready, which both kinds do alike."""
    return condition_of(claim, "Ready")[0] == "True"


@dataclass(frozen=True)
class AgentSession:
    """This product. Ready means that the agent, connected before, has been given the prompt."""

    pid: int
    name: str = "AgentSession"
    pools: Resource = AGENTPOOLS
    claims: Resource = AGENTSESSIONS

    def pool(self, size: int) -> KubeObject:
        return _object(self.pools, POOL, {"replicas": size, "template": {"agent": {"model": MODEL}}})

    def claim(self, name: str) -> KubeObject:
        return _object(self.claims, name, {"poolRef": {"name": POOL}, "prompt": "hello"})


@dataclass(frozen=True)
class AgentSandbox:
    """Ready means that the pod is Ready."""

    pid: int
    name: str
    pools: Resource = WARM_POOLS
    claims: Resource = CLAIMS

    def pool(self, size: int) -> KubeObject:
        return _object(self.pools, POOL, {"replicas": size, "sandboxTemplateRef": {"name": POOL}})

    def claim(self, name: str) -> KubeObject:
        return _object(self.claims, name, {"warmPoolRef": {"name": POOL}})


@asynccontextmanager
async def agent_session(world: World) -> AsyncIterator[Contender]:
    """One replica, started as a pod would be, with the rights that the chart gives."""
    replica = await world.operators.start()
    await world.operators.leader()
    assert replica.process is not None
    try:
        yield AgentSession(replica.process.pid)
    finally:
        await world.operators.close()
        world.operators.replicas.clear()


@asynccontextmanager
async def agent_sandbox(world: World, flags: tuple[str, ...], name: str) -> AsyncIterator[Contender]:
    """Its controller, built from its Go module at the pinned version, with its own CRDs, as administrator."""
    made = world.operators.made
    for crd in _crds():
        await world.api.apply(CRDS, crd)
    kubectl(made.kubeconfig, "wait", "--for=condition=Established", "customresourcedefinition", "--all")
    listens = (f"--metrics-bind-address=127.0.0.1:{PORT}", f"--health-probe-bind-address=127.0.0.1:{PORT + 1}")
    program = str(binaries.resolve(["agent-sandbox-controller"])["agent-sandbox-controller"])
    argv = (program, f"--kubeconfig={made.kubeconfig}", "--extensions", "--leader-elect=false", *listens, *flags)
    controller = Component(CONTROLLER, argv, f"http://127.0.0.1:{PORT + 1}/readyz")
    components.ensure(made, [controller], die_with_parent=True)
    container = {"name": "agent", "image": "images.invalid/agent:1", "securityContext": RESTRICTED}
    template = {"podTemplate": {"spec": {"containers": [container]}}}
    await world.api.apply(TEMPLATES, _object(TEMPLATES, POOL, template))
    try:
        yield AgentSandbox(processes.components(made.root)[CONTROLLER].pid, name)
    finally:
        processes.kill(made.root, CONTROLLER.__eq__)


async def ready_in_pool(api: ApiClient, contender: Contender) -> int:
    """How many of its pool wait, as the pool's status says, in the same field for both."""
    ready: int = (await api.get(contender.pools, (NAMESPACE, POOL))).get("status", {}).get("readyReplicas", 0)
    return ready


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _crds() -> list[KubeObject]:
    family = binaries.GO_MODULES / "agent-sandbox"
    command = ("go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/agent-sandbox")
    module = subprocess.run(command, cwd=family, capture_output=True, text=True, check=True).stdout.strip()
    return [yaml.safe_load(path.read_text()) for path in sorted(Path(module, "k8s/crds").glob("*.yaml"))]


def _object(kind: Resource, name: str, spec: Mapping[str, object]) -> KubeObject:
    metadata = {"namespace": NAMESPACE, "name": name}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
