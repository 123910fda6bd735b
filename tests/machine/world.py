"""One example's world: an API server, replicas of the operator, egress plane, nodes, people."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

from agentsession.api.base import API_VERSION
from agentsession.api.session import AgentSession
from agentsession.keys.keyring import Keyring
from agentsession.kube.objects import Key, KubeObject, is_terminating
from agentsession.kube.resource import AGENTPOOLS, AGENTTENANTS, NAMESPACES
from agentsession.pools import act
from tests.kube.faults import Rule

from .apiserver import ApiServer
from .clock import Clock, SimulatedLoop
from .history import History
from .nodes import Nodes
from .objects import Event
from .operators import Operator, Surrounding, elect
from .places import ALL, COMMONS, GUESTS, NAMESPACE
from .plane import Plane
from .way import CALM, Way

SHARED = "shared"
"""The name of the pool that is."""
QUIET = 1.0
"""Seconds in which some reconciles, one after another, are through."""
T = TypeVar("T")
_WORKERS = logging.getLogger("agentsession.kube.worker")


class World:
    """`log` is what was done and what came of it, for people who read of a failure."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.clock = Clock(loop)
        self.server = ApiServer(self.clock.now, self._committed)
        self.log: list[str] = []
        self.rules: list[Rule] = []
        self.prompts: dict[str, str] = {}
        """Of the sessions that have theirs in a ConfigMap."""
        self.maps: set[str] = set()
        """The ConfigMaps with prompts that exist."""
        self.replicas: list[Operator] = []
        self.api = Way(self.server).client()
        self.plane: Plane
        self.nodes: Nodes
        self.history: History
        self._around: Surrounding
        self.numbers = count(1)
        """For prompts, so that each is nobody else's."""
        self._names = count(1)
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Make all of it, with one operator that leads."""
        enter = self._stack.enter_async_context
        keyring = Keyring.generate(self.clock.now())
        self.plane = await enter(Plane(self.api, keyring, self.clock).running())
        self.nodes = await enter(Nodes(self.api, self.server.objects, self.plane, self.clock).working())
        self.history = History(self.plane, self.nodes.asked, self._by_leader, self._calm, self.log.append)
        self.history.clock_stepped = lambda: self.clock.stepped
        self.history.now = self.loop.time
        self.nodes.broken, self.nodes.session_of = self.history.broken, self.history.session_of
        lease = (NAMESPACE, "operator")
        self._around = Surrounding(self.loop, self.clock, self.server, self.api, lease, keyring, self.plane.peers)
        suffixes = (f"{number:08x}" for number in count(1))
        self._stack.enter_context(patch.object(act, "secrets", SimpleNamespace(token_hex=lambda _: next(suffixes))))
        told = _Told(self.log)
        _WORKERS.addHandler(told)
        self._stack.callback(_WORKERS.removeHandler, told)
        for name in ALL:
            labels = {"kubernetes.io/metadata.name": name}
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            await self.api.create(NAMESPACES, namespace)
        await self.ensure_leader()
        await self.tenant((NAMESPACE, "default"), 5)
        await self.tenant((NAMESPACE, "other"), 5)
        await self.tenant((GUESTS, "other"), 5)
        await self.pool("p", 2)
        await self.pool(SHARED, 1)

    def _by_leader(self) -> bool:
        return self.leader is not None and self.server.asks == self.leader.name

    def _calm(self) -> bool:
        leader = self.leader
        return leader is not None and self._by_leader() and leader.way.calm and self.loop.time() - leader.born > CALM

    def _committed(self, plural: str, event: Event) -> None:
        self.history.committed(plural, event)

    async def close(self) -> None:
        """End all that runs."""
        for replica in self.replicas:
            await replica.kill()
        await self._stack.aclose()

    @property
    def leader(self) -> Operator | None:
        """The replica that leads and holds the Lease."""
        return next((replica for replica in self.replicas if replica.leads and not replica.frozen), None)

    async def tenant(self, key: Key, most: int) -> None:
        """Make or change a tenant. One of them can keep what its sessions were told; the others cannot, and consent to
        shared pools."""
        provider = {"credentialSecretRef": {"name": "key"}, "models": ["m"]}
        spec: dict[str, Any] = {"provider": provider, "sessions": {"maxConcurrent": most}}
        if key[1] == "default":
            spec["workspace"] = {}
        else:
            spec["sharedPools"] = {"namespaces": [COMMONS]}
        await self.api.apply(AGENTTENANTS, made_of("AgentTenant", key, spec))

    async def pool(
        self, name: str, replicas: int, prompt: str = "", admits: Mapping[str, Any] | None = None, **scaling: object
    ) -> None:
        """Make or change a pool. prompt: tells templates apart. admits: which namespaces, by labels, if it is shared;
        all if that is not said."""
        agent = {"model": "m", **({"systemPrompt": prompt} if prompt else {})}
        spec: dict[str, Any] = {"template": {"agent": agent}, "replicas": replicas, "scaling": scaling}
        if name == SHARED:
            spec["allowedNamespaces"] = {"selector": admits or {}}
        await self.api.apply(AGENTPOOLS, made_of("AgentPool", (COMMONS if name == SHARED else NAMESPACE, name), spec))

    async def join(self) -> Operator:
        """One more replica."""
        replica = Operator(f"operator-{next(self._names)}", self._around)
        self.replicas.append(replica)
        await replica.start()
        replica.way.rules = self.rules
        return replica

    async def kill(self, replica: Operator) -> None:
        """kill -9 of a replica."""
        self.replicas.remove(replica)
        await replica.kill()

    async def ensure_leader(self) -> Operator:
        """Bury the dead, and let a healthy replica lead; make one if there is none."""
        for replica in [replica for replica in self.replicas if replica.dead]:
            self.log.append(f"    {replica.name} is dead")
            await self.kill(replica)
        if (leader := self.leader) is not None:
            return leader
        if all(replica.frozen for replica in self.replicas):
            await self.join()
        elected = await elect(self.replicas)
        if elected is None:
            return await self.ensure_leader()
        self.log.append(f"    {elected.name} leads in epoch {elected.election.epoch}")
        return elected

    async def quiet(self) -> None:
        """Wait until what is under way has come to its end, unless it waits for long."""
        await asyncio.sleep(QUIET)
        await self.loop.idle()

    def judge_pace(self) -> None:
        """Whoever asks for the same again and again is in a busy loop."""
        for replica in self.replicas:
            if replica.way.hurried is not None:
                self.history.broken(f"{replica.name} is in a busy loop: {replica.way.hurried}")

    def pods(self, *, deleting: bool = False) -> list[KubeObject]:
        """The pods that are, or are not, being deleted."""
        return [pod for pod in self.history.pods if is_terminating(pod) == deleting]

    def sessions(self) -> Sequence[AgentSession]:
        """The sessions that are not being deleted."""
        return [session for session in self.history.sessions if session.metadata.deletion_timestamp is None]


def picked(number: int, things: list[T]) -> T | None:
    """One of them, if there are any."""
    return things[number % len(things)] if things else None


class _Told(logging.Handler):
    """What fails in operators, for the log."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else ""
        self._log.append(f"    {record.getMessage()} {error!r}"[:240])


def made_of(kind: str, key: Key, spec: Mapping[str, Any]) -> dict[str, Any]:
    """An object of this project's API."""
    metadata = {"namespace": key[0], "name": key[1]}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
