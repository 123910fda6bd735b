"""The leading operator without its process: caches, queues and controllers against a real API server.

In the place of the kubelet stands `World.run`, in that of a runner the runner's own server with an agent of a few
lines, in that of the egress plane a process that reports what it is told to.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool
from agentsession.api.schema import crds
from agentsession.api.session import AgentSession
from agentsession.keys.keyring import Keyring
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ConflictError, NotFoundError
from agentsession.kube.objects import Key, KubeObject, key_of, uid_of
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS, EVENTS, PODS, Resource
from agentsession.kube.watch import Reflector
from agentsession.leader import Leader
from agentsession.queues import Queues
from agentsession.resources.names import CONTAIN_CONTAINER, RUNNER_CONTAINER, runner_pod_name
from agentsession.resources.surroundings import Surroundings
from agentsession.runners.client import runner_http
from agentsession.watches import watched
from agentsession_runner.auth import CallVerifier, KeySource
from agentsession_runner.journal import Journal
from agentsession_runner.protocol import ENV_RESUME, ENV_SESSION_ID, PORT
from agentsession_runner.server import Server
from agentsession_runner.session import Session
from tests.kube.kinds import CRDS

from .build import CONVERSATION, INSTALL
from .standins import Agent, Egress, loopback, serving

SECONDS = 20.0
OVERDUE = {"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active on the node for too long"}
SURROUNDINGS = Surroundings(egress_ip="10.96.0.9", canary_ip="10.96.0.8", api_server="10.96.0.1:443")


@dataclass
class Place:
    """A namespace, and all that is there whatever becomes of the operator."""

    api: ApiClient
    namespace: str
    keyring: Keyring
    egress: Egress
    http: aiohttp.ClientSession
    stack: AsyncExitStack

    async def tenant(self, **spec: Any) -> KubeObject:
        """A tenant whose credential the egress plane can use."""
        provider = {"credentialSecretRef": {"name": "key"}, "models": ["m"]}
        body = self._body("AgentTenant", "default", {"provider": provider, **spec})
        made = await self.api.create(AGENTTENANTS, body)
        self.egress.finds(made)
        return made

    async def session(self, name: str = "s", **spec: Any) -> AgentSession:
        """Create a session."""
        body = self._body("AgentSession", name, {"prompt": "hello", "agent": {"model": "m"}, **spec})
        body["spec"] = {key: value for key, value in body["spec"].items() if value is not None}
        return AgentSession.model_validate(await self.api.create(AGENTSESSIONS, body))

    async def pool(self, replicas: int, **spec: Any) -> AgentPool:
        """Create a pool `p`."""
        body = self._body("AgentPool", "p", {"template": {"agent": {"model": "m"}}, "replicas": replicas, **spec})
        return AgentPool.model_validate(await self.api.create(AGENTPOOLS, body))

    async def pool_now(self) -> AgentPool:
        """The pool as the API server has it."""
        return AgentPool.model_validate(await self.api.get(AGENTPOOLS, (self.namespace, "p")))

    def _body(self, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "agentsession.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}

    async def now(self, session: AgentSession) -> AgentSession:
        """The session as the API server has it."""
        return AgentSession.model_validate(await self.api.get(AGENTSESSIONS, session.key))

    async def says(self, session: AgentSession, reason: str) -> AgentSession:
        """Wait for a reason of Ready."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    now = await self.now(session)
                    if any(item.type == "Ready" and item.reason == reason for item in now.status.conditions):
                        return now
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not {reason}: {(await self.now(session)).status!r}") from None

    async def told(self, session: AgentSession, *reasons: str) -> list[str]:
        """Wait until Events give those reasons, which is after its status does; returns what all of its Events give."""
        async with asyncio.timeout(SECONDS):
            while True:
                found = await self.api.list(EVENTS, namespace=self.namespace)
                told = [event["reason"] for event in found.items if event["regarding"]["uid"] == session.metadata.uid]
                if set(reasons) <= set(told):
                    return told
                await asyncio.sleep(0.02)

    async def pod(self, session: AgentSession) -> KubeObject | None:
        """Its pod as the API server has it."""
        try:
            return await self.api.get(PODS, self.pod_key(session))
        except NotFoundError:
            return None

    async def pods(self) -> Sequence[KubeObject]:
        """All of the namespace."""
        return (await self.api.list(PODS, namespace=self.namespace)).items

    def pod_key(self, session: AgentSession) -> Key:
        """Where its pod is."""
        return self.namespace, runner_pod_name(session.metadata.name, session.metadata.uid)

    async def made(self, session: AgentSession) -> KubeObject:
        """Wait for its pod."""
        async with asyncio.timeout(SECONDS):
            while (pod := await self.pod(session)) is None:
                await asyncio.sleep(0.02)
        return pod

    async def run(self, session: AgentSession, kind: type[Session] = Session) -> Agent:
        """Be kubelet and runner of its pod; returns its agent."""
        pod, agent = await self.made(session), Agent()
        await self.start(pod, agent, kind)
        return agent

    async def start(self, pod: KubeObject, agent: Agent, kind: type[Session] = Session) -> None:
        """Run that pod with that agent. Raises NotFoundError if it is gone."""
        uid = pod["metadata"]["uid"]
        address = loopback()
        conversation = kind(Journal(), check_disk=lambda: None)
        verifier = CallVerifier(KeySource(self.http, self.egress.url), uid)

        async def connect() -> Agent:
            return agent

        async def drain() -> None:
            await conversation.end_requested.wait()
            await conversation.drain()

        environment = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
        session_id = environment.get(ENV_RESUME) or environment.get(ENV_SESSION_ID) or CONVERSATION
        for life in (conversation.run(session_id, connect), drain()):
            self.stack.callback(asyncio.create_task(life).cancel)
        await self.stack.enter_async_context(serving(Server(conversation, verifier).app(), address, PORT))
        await self.runs(pod, address)

    async def runs(self, pod: KubeObject, address: str) -> None:
        """Be kubelet of that pod: it runs there until its deadline. Raises NotFoundError if it is gone."""
        status = _running(address)
        await self.api.apply_status(PODS, key_of(pod), status, uid=uid_of(pod))
        self.stack.callback(asyncio.create_task(self._hold_to_deadline(pod, status)).cancel)

    async def _hold_to_deadline(self, pod: KubeObject, status: dict[str, object]) -> None:
        await asyncio.sleep(pod["spec"]["activeDeadlineSeconds"])
        with suppress(NotFoundError, ConflictError):  # it is gone, or another one has its name
            await self.api.apply_status(PODS, key_of(pod), {**status, **OVERDUE}, uid=uid_of(pod))


@dataclass
class World(Place):
    """The controllers under test, and what surrounds them."""

    caches: Caches
    queues: Queues
    leader: Leader

    async def tenant(self, **spec: Any) -> KubeObject:
        """A tenant whose credential the egress plane can use, and the operator has heard so."""
        made = await super().tenant(**spec)
        await self.leader.meters.pull()
        return made


def _running(address: str) -> dict[str, object]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    common = {"image": "runner:1", "imageID": "x", "restartCount": 0}
    ended = {"exitCode": 0, "startedAt": now, "finishedAt": now}
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [{"type": type_, "status": "True"} for type_ in ("ContainersReady", "Ready")],
        "initContainerStatuses": [{**common, "name": CONTAIN_CONTAINER, "ready": True, "state": {"terminated": ended}}],
        "containerStatuses": [
            {**common, "name": RUNNER_CONTAINER, "ready": True, "state": {"running": {"startedAt": now}}}
        ],
    }


async def serve_kinds(api: ApiClient) -> None:
    """Apply the CRDs and wait until they are served."""
    for crd in crds():
        await api.apply(CRDS, crd)
    for resource in (AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS):
        async with asyncio.timeout(SECONDS):
            while not await _is_served(api, resource):
                await asyncio.sleep(0.02)


async def _is_served(api: ApiClient, resource: Resource) -> bool:
    try:
        await api.list(resource)
    except NotFoundError:
        return False
    return True


@asynccontextmanager
async def surrounded(api: ApiClient, namespace: str) -> AsyncIterator[Place]:
    """The place, with no operator in it. The kinds must be served."""
    keyring = Keyring.generate(datetime.now(UTC))
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        egress = await stack.enter_async_context(Egress(keyring).running())
        yield Place(api, namespace, keyring, egress, http, stack)


@asynccontextmanager
async def leading(
    place: Place,
    api: ApiClient,
    http: aiohttp.ClientSession | None = None,
    *,
    epoch: int = 1,
    leads: Callable[[], bool] = lambda: True,
    install: Installation = INSTALL,
) -> AsyncIterator[tuple[Caches, Queues, Leader]]:
    """An operator that leads; its end is as sudden as that of a process. api, http: its ways to the API server, and to
    runners and egress."""
    caches = Caches()
    queues = Queues(caches)

    async def peers(_: str) -> list[str]:
        return [place.egress.url]

    own = runner_http()
    leader = Leader(
        api,
        install,
        caches,
        queues,
        http or own,
        http or place.http,
        SURROUNDINGS,
        keyring=lambda: place.keyring,
        epoch=epoch,
        leading=leads,
        resolve=peers,
    )
    changed, kinds = queues.changed(), watched(caches)

    async def lead() -> None:
        while not all(store.synced for _, store, _ in kinds):
            await asyncio.sleep(0.01)
        await leader.run()

    async with own, asyncio.TaskGroup() as group:
        tasks = [group.create_task(lead())]
        for resource, store, selector in kinds:
            reflector = Reflector(api, resource, store, label_selector=selector, on_change=changed[resource])
            tasks.append(group.create_task(reflector.run()))
        try:
            yield caches, queues, leader
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def operating(
    api: ApiClient, namespace: str, *, operator: ApiClient | None = None, install: Installation = INSTALL
) -> AsyncIterator[World]:
    """The controllers at work. `operator` is their client, if they are not to be administrators too."""
    await serve_kinds(api)
    async with (
        surrounded(api, namespace) as place,
        leading(place, operator or api, install=install) as (caches, queues, leader),
    ):
        yield World(api, namespace, place.keyring, place.egress, place.http, place.stack, caches, queues, leader)
