"""An operator that good sessions rely on, among manifests that cannot work."""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from agentsession.api.session import AgentSession
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.objects import Key
from agentsession.kube.resource import AGENTSESSIONS, NAMESPACES
from agentsession.sessions.controller import SessionController
from tests.kube import proxy
from tests.sessions.inprocess import SECONDS, World, operating

from .asking import Asker
from .corpus import cases
from .placing import Placed, Placer

pytestmark = pytest.mark.apiserver

ASKED_AGAIN = ("PodRefused", "NamespaceNotReady")
"""The API server says no, and nothing tells the operator when a quota or a LimitRange changes: it goes on asking."""
ON_ITS_WAY = ("Starting", "Unschedulable", "TenantAtCapacity")


class Counted:
    """The operator's reconciles by session, and its writes by path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, between: proxy.Proxy) -> None:
        self.reconciles: Counter[Key] = Counter()
        self._between = between
        original = SessionController.reconcile

        async def reconcile(controller: SessionController, key: Key) -> object:
            self.reconciles[key] += 1
            return await original(controller, key)

        monkeypatch.setattr(SessionController, "reconcile", reconcile)

    def writes(self) -> list[str]:
        """Every write, Events left out, in order: method and path."""
        asked = (line.partition("?")[0] for line in self._between.seen)
        return [line for line in asked if not line.startswith("GET") and "/events" not in line]


@pytest.fixture
async def scene(
    connection: Connection, namespace: str, asker: Asker, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[World, Placer, Counted]]:
    async with _scene(connection, namespace, asker, api, monkeypatch) as made:
        yield made


@asynccontextmanager
async def _scene(
    connection: Connection, namespace: str, asker: Asker, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[World, Placer, Counted]]:
    async with proxy.running(connection) as (between, url), connection.open() as plain, connection.open() as http:
        counted = Counted(monkeypatch, between)
        http.headers["Impersonate-User"] = "system:serviceaccount:agentsession-system:agentsession-egress"
        async with operating(ApiClient(url, plain), namespace) as world:
            await world.tenant()
            placer = Placer(world, api, asker, ApiClient(connection.server, http))
            yield world, placer, counted
        for name in placer.namespaces:
            await api.delete(NAMESPACES, ("", name))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await holds():
            await asyncio.sleep(0.05)


async def quiet(world: World) -> None:
    """Wait until no key waits for a worker, twice in a row."""
    for _ in range(2):
        await until(lambda: _nothing_waits(world))
        await asyncio.sleep(0.3)


async def _nothing_waits(world: World) -> bool:
    return len(world.queues.sessions) == 0 and len(world.queues.tenants) == 0


async def _whole_way(world: World, name: str) -> AgentSession:
    session = await world.session(name)
    await world.says(session, "Unschedulable")  # there are no nodes; from here on all is this test's doing
    agent = await world.run(session)
    await world.says(session, "Connected")
    agent.free.set()
    done = await world.says(session, "Completed")
    await until(lambda: _no_pod(world, session))
    return done


async def _no_pod(world: World, session: AgentSession) -> bool:
    return await world.pod(session) is None


async def _told(placer: Placer, placed: Placed) -> str:
    """Nothing, once it is marked as it should be; else what it says."""
    status, reason, message = "", "", ""
    try:
        async with asyncio.timeout(SECONDS):
            while (status, reason) != ("False", placed.case.reason) or not placed.case.expects(message):
                status, reason, message = await placer.ready(placed)
                await asyncio.sleep(0.05)
    except TimeoutError:
        return f"{status} {reason}: {message}"
    return ""


async def _all_wrong(placer: Placer) -> list[Placed]:
    """The whole corpus, placed and marked."""
    placed = [await placer.place(case) for case in cases("marked")]
    told = {item.case.name: await _told(placer, item) for item in placed}
    assert {name: says for name, says in told.items() if says} == {}
    return placed


async def test_good_sessions_do_not_feel_wrong_ones(
    scene: tuple[World, Placer, Counted], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world, placer, counted = scene
    good = await world.session("good-0")
    await world.run(good)
    await world.says(good, "Connected")
    await quiet(world)
    alone = await _writes_of(_whole_way(world, "good-1"), counted, world.namespace)
    await quiet(world)
    steady = counted.reconciles[good.key]

    wrong = await _all_wrong(placer)
    await quiet(world)
    assert counted.reconciles[good.key] == steady

    assert await _writes_of(_whole_way(world, "good-2"), counted, world.namespace) == alone
    assert (await world.now(good)).status.phase == "Running"

    elsewhere = [placed.namespace for placed in wrong if placed.case.reason in ASKED_AGAIN]
    before = len(counted.writes())
    for placed in wrong:
        _wake(world, placed)
    await quiet(world)
    written = [line for line in counted.writes()[before:] if not any(f"/{name}/" in line for name in elsewhere)]
    assert written == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def _wake(world: World, placed: Placed) -> None:
    """Have it looked at again, as a resync does, or an operator that has just begun to lead."""
    queue = world.queues.sessions if placed.resource is AGENTSESSIONS else world.queues.tenants
    queue.add((placed.namespace, placed.name))


async def _writes_of(way: Awaitable[object], counted: Counted, namespace: str) -> Counter[str]:
    """The writes in a namespace while a session goes its way, without the names that differ."""
    before = len(counted.writes())
    await way
    found = (line for line in counted.writes()[before:] if f"/{namespace}/" in line)
    return Counter(re.sub("good-[0-9](-[0-9a-f]{8})?", "good", line) for line in found)


async def test_what_is_put_right_heals(scene: tuple[World, Placer, Counted]) -> None:
    world, placer, _ = scene
    for placed in await _all_wrong(placer):
        await placer.put_right(placed)
        async with asyncio.timeout(SECONDS):
            while not await _healed(placer, placed):
                if placed.case.reason in (*ASKED_AGAIN, "PromptNotFound"):
                    _wake(world, placed)  # as it will be by itself, in seconds or minutes
                await asyncio.sleep(0.1)


async def _healed(placer: Placer, placed: Placed) -> bool:
    status, reason, _ = await placer.ready(placed)
    return status == "True" if placed.resource is not AGENTSESSIONS else reason in ON_ITS_WAY
