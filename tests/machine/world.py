"""One example's world: a namespace of a real API server, replicas of the operator, egress plane, nodes, people."""

import asyncio
import logging
import uuid
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import count
from typing import Any, TypeVar

from agentsession.api.base import API_VERSION
from agentsession.api.session import AgentSession
from agentsession.keys.keyring import Keyring
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.errors import ApiError
from agentsession.kube.objects import KubeObject, is_terminating, key_of
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, NAMESPACES, PODS, SERVICEACCOUNTS
from tests.kube.proxy import Rule
from tests.sessions.inprocess import serve_kinds

from .clock import Clock, JumpingLoop
from .history import History
from .nodes import Nodes
from .operators import Operator, Surrounding, elect
from .plane import Plane

QUIET_LOOKS = 6
LOOK_SECONDS = 0.003
"""Real time between two looks. When nothing has happened for so many of them, all is done that can be done now."""
PATIENCE = 5.0
T = TypeVar("T")
_WORKERS = logging.getLogger("agentsession.kube.worker")


class World:
    """`log` is what was done and what came of it, for people who read of a failure."""

    def __init__(self, loop: JumpingLoop, connection: Connection) -> None:
        self.loop = loop
        self.clock = Clock(loop)
        self.namespace = f"machine-{uuid.uuid4().hex[:10]}"
        self.connection = connection
        self.log: list[str] = []
        self.rules: list[Rule] = []
        self.prompts: dict[str, str] = {}
        """Of the sessions that have theirs in a ConfigMap."""
        self.maps: set[str] = set()
        """The ConfigMaps with prompts that exist."""
        self.most: dict[str, int] = {}
        """What the tenants' sessions.maxConcurrent says now."""
        self.replicas: list[Operator] = []
        self.api: ApiClient
        self.plane: Plane
        self.nodes: Nodes
        self.history: History
        self._around: Surrounding
        self._names = count(1)
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Make all of it, with one operator that leads."""
        enter = self._stack.enter_async_context
        self.api = ApiClient(self.connection.server, await enter(self.connection.open()))
        await serve_kinds(self.api)
        await self.api.create(NAMESPACES, _object("v1", "Namespace", self.namespace))
        await self.api.apply(SERVICEACCOUNTS, _object("v1", "ServiceAccount", "default", self.namespace))
        keyring = Keyring.generate(self.clock.now())
        self.plane = await enter(Plane(self.api, keyring, self.clock).running())
        self.nodes = await enter(Nodes(self.api, self.connection, self.plane, self.clock).working())
        self.history = History(self.plane, self.namespace, self.log.append)
        self.nodes.broken = self.history.broken
        lease = (self.namespace, "operator")
        self._around = Surrounding(self.loop, self.clock, self.connection, self.api, lease, keyring, self.plane.peers)
        directory = self.plane.directory
        for resource, store in (
            (AGENTSESSIONS, directory.sessions.store),
            (PODS, directory.pods.store),
            (AGENTTENANTS, directory.tenants.store),
        ):
            watch = asyncio.create_task(self.history.watch(self.connection, resource, store))
            self._stack.push_async_callback(_cancelled, watch)
        told = _Told(self.log)
        _WORKERS.addHandler(told)
        self._stack.callback(_WORKERS.removeHandler, told)
        await self.ensure_leader()
        await self.tenant("default", 5)

    async def close(self) -> None:
        """Remove it, so that the next world's operators meet nothing of it."""
        for replica in self.replicas:
            await replica.kill()
        for resource in (AGENTSESSIONS, AGENTTENANTS, PODS):
            for item in (await self.api.list(resource, namespace=self.namespace)).items:
                with suppress(ApiError):
                    await self.api.delete(resource, key_of(item), grace_seconds=0)
        await self.api.delete(NAMESPACES, ("", self.namespace))
        await self._stack.aclose()

    @property
    def leader(self) -> Operator | None:
        """The replica that leads and holds the Lease."""
        return next((replica for replica in self.replicas if replica.leads and not replica.frozen), None)

    async def tenant(self, name: str, most: int) -> None:
        """Make or change a tenant. One of them can keep what its sessions were told, the other cannot."""
        provider = {"credentialSecretRef": {"name": "key"}, "models": ["m"]}
        spec: dict[str, Any] = {"provider": provider, "sessions": {"maxConcurrent": most}}
        if name == "default":
            spec["workspace"] = {}
        metadata = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": API_VERSION, "kind": "AgentTenant", "metadata": metadata, "spec": spec}
        await self.api.apply(AGENTTENANTS, body)
        self.most[name] = most

    async def join(self) -> Operator:
        """One more replica."""
        replica = Operator(f"operator-{next(self._names)}", self._around)
        self.replicas.append(replica)
        await replica.start()
        replica.proxy.rules = self.rules
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
        elected = await elect(self._around, self.replicas)
        if elected is None:
            return await self.ensure_leader()
        self.log.append(f"    {elected.name} leads in epoch {elected.election.epoch}")
        return elected

    async def quiet(self) -> None:
        """Wait until nothing more happens without time passing, but for no longer than PATIENCE."""
        clock = asyncio.get_running_loop().time
        before, calm, begun = -1, 0, clock()
        while calm < QUIET_LOOKS and clock() - begun < PATIENCE:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._activity()
            calm = calm + 1 if now == before and not self._pending() else 0
            before = now

    def _activity(self) -> int:
        calls = sum(runner.calls for runner in self.nodes.runners.values())
        return self.history.events + calls + sum(len(replica.proxy.seen) for replica in self.replicas)

    def _pending(self) -> bool:
        pending = [*self.nodes.runners.values(), *(replica.proxy for replica in self.replicas)]
        return any(each.pending for each in pending)

    def pods(self, *, deleting: bool = False) -> list[KubeObject]:
        """The pods that are, or are not, being deleted."""
        return [pod for pod in self.history.pods if is_terminating(pod) == deleting]

    def sessions(self) -> Sequence[AgentSession]:
        """The sessions that are not being deleted."""
        return [session for session in self.history.sessions if session.metadata.deletion_timestamp is None]


class _Told(logging.Handler):
    """What fails in operators, for the log."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else ""
        self._log.append(f"    {record.getMessage()} {error!r}"[:240])


def _object(api_version: str, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def run(loop: JumpingLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run the loop until that is done; everything else goes on meanwhile, and then stands still."""
    return loop.run_until_complete(work)
