"""What is measured side by side: AgentSession's pools and kubernetes-sigs/agent-sandbox, as one client sees both."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agentsession.kube.objects import KubeObject, condition_of
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, Resource
from tests.scale.world import MODEL, NAMESPACES, World

from . import agentsandbox
from .apiserver import until_followed
from .objects import made_of

NAMESPACE = NAMESPACES[0]
POOL = "pool"


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
        return made_of(self.pools, NAMESPACE, POOL, {"replicas": size, "template": {"agent": {"model": MODEL}}})

    def claim(self, name: str) -> KubeObject:
        return made_of(self.claims, NAMESPACE, name, {"poolRef": {"name": POOL}, "prompt": "hello"})


@dataclass(frozen=True)
class AgentSandbox:
    """Ready means that the pod is Ready."""

    pid: int
    name: str
    pools: Resource = agentsandbox.WARM_POOLS
    claims: Resource = agentsandbox.CLAIMS

    def pool(self, size: int) -> KubeObject:
        return agentsandbox.pool(NAMESPACE, POOL, size)

    def claim(self, name: str) -> KubeObject:
        return agentsandbox.claim(NAMESPACE, name, POOL)


@asynccontextmanager
async def agent_session(world: World) -> AsyncIterator[Contender]:
    """One replica, started as a pod would be, with the rights that the chart gives."""
    await until_followed(world.operators.made.kubeconfig, AGENTPOOLS)
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
    """Its controller, as administrator."""
    container = {"name": "agent", "image": "images.invalid/agent:1", "securityContext": agentsandbox.RESTRICTED}
    async with agentsandbox.controller(world.operators.made, world.api, flags) as pid:
        await world.api.apply(
            agentsandbox.TEMPLATES, agentsandbox.template(NAMESPACE, POOL, {"containers": [container]})
        )
        yield AgentSandbox(pid, name)


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
