"""A cluster of fake nodes with the chart installed, real operators beside it, and thousands of sessions in it."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from agentsession.keyrings import ensure_keyrings
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.errors import TooManyRequestsError, from_status
from agentsession.kube.objects import Key, KubeObject, key_of, owner_uid, uid_of
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, PODS, Resource
from agentsession.resources.names import GRANT_ANNOTATION, RUNNER_LABEL
from agentsession.runners.client import runner_http
from devcluster import install, kwok
from devcluster.controlplane import ControlPlane
from tests.sessions.build import INSTALL
from tests.sessions.standins import Egress

from .operators import Operators
from .runners import Runners

NAMESPACES = tuple(f"scale-{number}" for number in range(1, 5))
NODES = 4
MODEL = "m"
CREATES_AT_ONCE = 8
WATCH_SECONDS = 3600
OURS = f"{RUNNER_LABEL}=true"


@dataclass
class World:
    """What happens in the cluster, seen by watches that go on where they ended: they miss nothing."""

    api: ApiClient
    egress: Egress
    runners: Runners
    operators: Operators
    shards: int
    sessions: dict[Key, KubeObject] = field(default_factory=dict)
    moments: dict[Key, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """Seconds of time.monotonic, by session and by what was seen: created, Ready, Finished, gone."""
    pods: dict[str, str] = field(default_factory=dict)
    """The session's uid by the uid of each runner pod that is there."""
    granted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By session uid, the pods that were ever granted it."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def create(self, count: int, prefix: str, **spec: object) -> list[Key]:
        """So many sessions, spread over all namespaces."""
        keys = [(NAMESPACES[number % len(NAMESPACES)], f"{prefix}-{number}") for number in range(count)]
        slots = asyncio.Semaphore(CREATES_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(self._create(key, spec, slots))
        return keys

    async def _create(self, key: Key, spec: dict[str, object], slots: asyncio.Semaphore) -> None:
        async with slots:
            self.moments[key]["created"] = time.monotonic()
            await self.api.create(AGENTSESSIONS, session(key, **spec))

    async def delete(self, keys: list[Key]) -> None:
        """Delete these sessions, and wait until they and their pods are gone."""
        slots = asyncio.Semaphore(CREATES_AT_ONCE)

        async def one(key: Key) -> None:
            async with slots:
                await self.api.delete(AGENTSESSIONS, key)

        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(one(key))
        await self.until(lambda: not self.pods and not self.left("gone", keys))

    def left(self, moment: str, keys: list[Key]) -> int:
        """How many of these sessions have not been seen so."""
        return sum(moment not in self.moments[key] for key in keys)

    async def until(self, condition: Callable[[], bool], seconds: float = 300.0) -> None:
        """Wait for what the watches tell."""
        async with asyncio.timeout(seconds):
            while not condition():
                await self._news.wait()

    def served_once(self, keys: list[Key]) -> bool:
        """Whether each of them has one runner, which is the only one that was ever granted it."""
        uids = {uid_of(self.sessions[key]) for key in keys}
        serving = {owner: pod for pod, owner in self.pods.items() if owner in uids}
        return {uid: self.granted[uid] for uid in uids} == {uid: {serving[uid]} for uid in uids}

    def reads(self, key: Key, reason: str) -> bool:
        """Whether a condition of the session has that reason."""
        conditions = self.sessions[key].get("status", {}).get("conditions", [])
        return any(item["reason"] == reason for item in conditions)

    async def follow_sessions(self) -> None:
        """Note every change of a session."""
        async for kind, seen in self._changes(AGENTSESSIONS, ""):
            key = key_of(seen)
            if kind == "DELETED":
                self.sessions.pop(key, None)
                self.moments[key]["gone"] = time.monotonic()
                continue
            self.sessions[key] = seen
            for condition in seen.get("status", {}).get("conditions", []):
                if condition["status"] == "True":
                    self.moments[key].setdefault(condition["type"], time.monotonic())

    async def follow_pods(self) -> None:
        """Note every change of a runner pod, and be the program of those that run."""
        async for kind, pod in self._changes(PODS, OURS):
            uid, owner = uid_of(pod), owner_uid(pod)
            if GRANT_ANNOTATION in pod["metadata"].get("annotations", {}):
                self.granted[owner].add(uid)
            if kind == "DELETED":
                self.pods.pop(uid, None)
                await self.runners.stop(uid)
                continue
            self.pods[uid] = owner
            if pod["status"].get("podIP"):
                await self.runners.start(pod)

    async def _changes(self, resource: Resource, selector: str) -> AsyncIterator[tuple[str, KubeObject]]:
        version = (await self.api.list(resource, label_selector=selector)).resource_version
        while True:
            stream = self.api.watch(resource, label_selector=selector, resource_version=version, seconds=WATCH_SECONDS)
            with suppress(TooManyRequestsError):  # the kind is so new that the server does not watch it yet
                async for event in stream:
                    if event is not None and event["type"] == "ERROR":
                        raise from_status(event["object"])
                    if event is not None:
                        version = event["object"]["metadata"]["resourceVersion"]
                    if event is not None and event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
                        self._news.set()
                        self._news = asyncio.Event()
            await asyncio.sleep(0.1)


def session(key: Key, **spec: object) -> KubeObject:
    """An AgentSession."""
    return {
        "apiVersion": AGENTSESSIONS.api_version,
        "kind": AGENTSESSIONS.kind,
        "metadata": {"namespace": key[0], "name": key[1]},
        "spec": {"prompt": "hello", "agent": {"model": MODEL}, **spec},
    }


@asynccontextmanager
async def world(folder: Path, sessions: int, shards: int = 1) -> AsyncIterator[World]:
    """Everything but operators. sessions: how many may run at once. shards: what operators are told."""
    with ControlPlane(folder / "cluster") as plane:
        made = plane.start()
        kwok.add_nodes(made, NODES, network=1 + secrets.randbelow(254))
        install.install(made.kubeconfig, _values(sessions, shards))
        connection = Connection.from_kubeconfig(str(made.kubeconfig))
        async with connection.open() as to_server, runner_http() as http, aiohttp.ClientSession() as scrapes:
            api = ApiClient(connection.server, to_server)
            keyring = await ensure_keyrings(api, INSTALL)
            async with Egress(keyring).running() as egress:
                for tenant in (await api.list(AGENTTENANTS)).items:
                    egress.finds(tenant)
                operators = Operators(made, scrapes, folder, egress.url)
                runners = Runners(http, egress.url)
                made_world = World(api, egress, runners, operators, shards)
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(made_world.follow_sessions()),
                        group.create_task(made_world.follow_pods()),
                    ]
                    try:
                        yield made_world
                    finally:
                        for task in tasks:
                            task.cancel()
                        await operators.close()
                        await runners.close()


def _values(sessions: int, shards: int) -> dict[str, object]:
    tenants = [
        {
            "namespace": namespace,
            "createNamespace": True,
            "models": [MODEL],
            "credentialSecret": {"name": "key", "key": "api-key"},
            "maxConcurrent": sessions,
        }
        for namespace in NAMESPACES
    ]
    images = install.image_values("images.invalid/operator:1", "images.invalid/runner:1")
    operator = {"replicas": 1 if shards == 1 else shards + 1, "shards": shards}
    fakes: dict[str, object] = {"operator": operator, "egress": {"replicas": 1}, "tenants": tenants}
    return install.merge(images, fakes)
