"""Pulling from several egress processes, some of which restart, fall silent or vanish."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web

from agentsession.api.base import to_json
from agentsession.api.report import CredentialState, Report, SessionUsage, TenantCredential
from agentsession.api.session import Meter
from agentsession.keys.call import USAGE_AUDIENCE
from agentsession.keys.keyring import Keyring, verify
from agentsession.kube.shards import ALL, Shard
from agentsession.usage import meters as meters_module
from agentsession.usage.meters import Meters

pytestmark = pytest.mark.unit

KEYRING = Keyring.generate(datetime.now(UTC))
KEY = ("n", "s")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no silent process."""
    for name in ("PULL_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(meters_module, name, 60)


class Peer:
    """An egress process that reports what it is told to, and what it was asked."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.started = datetime.now(UTC) - timedelta(hours=1)
        self.sequence = 1
        self.sessions: list[SessionUsage] = []
        self.tenants: list[TenantCredential] = []
        self.final = False
        self.status = 200
        self.asked: list[int] = []
        self.shards: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    def serves(self, output: int, uid: str = "u-1") -> None:
        meter = Meter(incarnation=self.incarnation, requests=1, output_tokens=output)
        self.sessions = [SessionUsage(session_uid=uid, namespace=KEY[0], session_name=KEY[1], meter=meter)]
        self.sequence += 1

    def says(self, state: CredentialState, generation: int = 1) -> None:
        self.tenants = [TenantCredential(namespace="n", name="default", generation=generation, state=state)]
        self.sequence += 1

    async def report(self, request: web.Request) -> web.Response:
        verify(request.headers["Authorization"].removeprefix("Bearer "), KEYRING.jwks(), USAGE_AUDIENCE)
        self.asked.append(int(request.query["after"]))
        self.shards.append(int(request.query["shard"]))
        await self.gate.wait()
        found = Report(
            incarnation=self.incarnation,
            started=self.started,
            sequence=self.sequence,
            final=self.final,
            sessions=self.sessions,
            tenants=self.tenants,
        )
        return web.json_response(to_json(found), status=self.status)


class Plane:
    """Peers, the meters that ask them, and a clock."""

    def __init__(self, http: aiohttp.ClientSession, stack: AsyncExitStack, shard: Shard = ALL) -> None:
        self.peers: list[Peer] = []
        self.begin = self.now = datetime.now(UTC)  # tokens are signed by this clock and checked by the real one
        self.sessions: list[tuple[str, str]] = []
        self.tenants: list[tuple[str, str]] = []
        self.gone = 0
        self.unresolvable = False
        self._stack = stack
        self.meters = Meters(
            http,
            lambda: KEYRING,
            "http://peers",
            shard=shard,
            session_changed=self.sessions.append,
            tenant_changed=self.tenants.append,
            process_gone=self._gone,
            resolve=self._resolve,
            now=lambda: self.now,
        )

    def _gone(self) -> None:
        self.gone += 1

    async def peer(self, incarnation: str) -> Peer:
        peer = Peer(incarnation)
        app = web.Application()
        app.router.add_get("/v1/report", peer.report)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.peers.append(peer)
        return peer

    async def _resolve(self, _: str) -> list[str]:
        if self.unresolvable:
            raise OSError("no such host")
        return [peer.url for peer in self.peers]

    def outputs(self, uid: str = "u-1") -> dict[str, int]:
        return {usage.meter.incarnation: usage.meter.output_tokens for usage in self.meters.session(KEY, uid)}


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Plane(http, stack)


async def test_what_several_processes_served_is_kept_apart_and_told(plane: Plane) -> None:
    (await plane.peer("a")).serves(1)
    (await plane.peer("b")).serves(2)
    assert await plane.meters.pull()
    assert plane.outputs() == {"a": 1, "b": 2}
    assert plane.sessions == [KEY, KEY]
    assert plane.outputs("u-of-an-earlier-session-of-that-name") == {}


@pytest.mark.parametrize("number", range(2))
async def test_what_is_of_another_shard_is_not_kept(number: int) -> None:
    shard = Shard(number, 2)
    async with AsyncExitStack() as stack:
        plane = Plane(await stack.enter_async_context(aiohttp.ClientSession()), stack, shard)
        peer = await plane.peer("a")
        peer.serves(1)
        peer.says("Ready")
        assert await plane.meters.pull()
        assert peer.shards == [number]
        assert bool(plane.outputs()) == bool(plane.sessions) == bool(plane.tenants) == shard.owns(KEY[0])


async def test_only_what_changed_is_asked_for(plane: Plane) -> None:
    peer = await plane.peer("a")
    peer.serves(1)
    await plane.meters.pull()
    peer.serves(4)
    await plane.meters.pull()
    assert peer.asked == [0, 2]
    assert plane.outputs() == {"a": 4}


async def test_a_restarted_process_is_asked_for_everything(plane: Plane) -> None:
    peer = await plane.peer("a")
    peer.serves(1)
    await plane.meters.pull()
    peer.incarnation, peer.sequence = "a2", 1
    peer.serves(2)
    await plane.meters.pull()
    assert peer.asked == [0, 2, 0]
    assert plane.outputs() == {"a": 1, "a2": 2}
    assert plane.meters.lost({"a"}, []) == {"a"}


async def test_a_silent_process_keeps_its_last_word_and_hides_who_lives(plane: Plane) -> None:
    (await plane.peer("a")).serves(1)
    second = await plane.peer("b")
    second.serves(2)
    await plane.meters.pull()
    second.status = 503
    assert not await plane.meters.pull()
    assert plane.outputs() == {"a": 1, "b": 2}
    assert plane.meters.lost({"a", "b", "long-gone"}, []) == frozenset()
    second.status = 200
    assert await plane.meters.pull()
    assert plane.meters.lost({"a", "b", "long-gone"}, []) == {"long-gone"}


async def test_without_any_process_nothing_is_known(plane: Plane) -> None:
    assert not await plane.meters.pull()
    plane.unresolvable = True
    assert not await plane.meters.pull()
    assert plane.meters.lost({"a"}, []) == frozenset()


@pytest.mark.parametrize(
    ("begun", "ended", "doubtful"),
    [(-9, None, True), (-9, -1, False), (-9, 1, True), (1, 2, True), (1, None, True), (5, None, False)],
)
async def test_whoever_was_busy_when_a_process_vanished_may_have_been_served_by_it(
    plane: Plane, begun: int, ended: int | None, *, doubtful: bool
) -> None:
    await plane.peer("a")
    gone = await plane.peer("b")
    await plane.meters.pull()
    plane.now = plane.begin + timedelta(seconds=2)
    plane.peers.remove(gone)
    await plane.meters.pull()
    plane.now = plane.begin + timedelta(seconds=4)
    await plane.meters.pull()
    busy = (
        plane.begin + timedelta(seconds=begun),
        plane.begin + timedelta(seconds=ended) if ended is not None else None,
    )
    assert plane.meters.lost(frozenset(), [busy]) == (frozenset({"b"}) if doubtful else frozenset())


async def test_a_process_that_ended_well_has_told_all(plane: Plane) -> None:
    """A rollout: what both served is in their last reports. Without the last word both are in doubt."""
    await plane.peer("a")
    well, badly = await plane.peer("b"), await plane.peer("c")
    await plane.meters.pull()
    well.final = True
    await plane.meters.pull()
    for told, peer in enumerate((well, badly)):
        plane.peers.remove(peer)
        plane.now += timedelta(seconds=2)
        await plane.meters.pull()
        assert plane.gone == told, "who has told all is not announced, the other one is"
    assert plane.meters.lost({"a", "b", "c"}, [(plane.begin, None)]) == {"c"}
    assert plane.meters.lost(frozenset(), [(plane.begin, None)]) == {"c"}


@pytest.mark.parametrize(
    ("begun", "ended", "doubtful"),
    [(-9, None, True), (-9, -2, True), (-90, -60, True), (-3, None, False), (5, None, False)],
)
async def test_a_new_operator_doubts_what_was_served_before_the_youngest_process(
    plane: Plane, begun: int, ended: int | None, *, doubtful: bool
) -> None:
    await plane.peer("a")
    youngest = await plane.peer("b")
    youngest.started = plane.begin - timedelta(seconds=5)
    await plane.meters.pull()
    until = plane.begin + timedelta(seconds=ended) if ended is not None else None
    busy = (plane.begin + timedelta(seconds=begun), until)
    assert bool(plane.meters.lost(frozenset(), [busy])) == doubtful


@pytest.mark.parametrize(
    ("begun", "ended", "doubtful"), [(1, None, True), (1, 2, True), (-9, -8, True), (-90, -60, True)]
)
@pytest.mark.parametrize("silent", [0, 1])
async def test_whoever_may_have_been_served_by_a_process_that_was_never_heard_is_in_doubt(
    plane: Plane, begun: int, ended: int | None, silent: int, *, doubtful: bool
) -> None:
    """Of two processes one never answers; or none is found."""
    for name in ("a", "b")[: 2 * silent]:
        (await plane.peer(name)).status = 200 if name == "a" else 503
    await plane.meters.settle()
    until = plane.begin + timedelta(seconds=ended) if ended is not None else None
    busy = (plane.begin + timedelta(seconds=begun), until)
    assert bool(plane.meters.lost(frozenset(), [busy])) == doubtful


async def test_who_is_busy_while_no_process_is_found_is_in_doubt_though_all_that_were_known_ended_well(
    plane: Plane,
) -> None:
    (await plane.peer("a")).final = True
    await plane.meters.pull()
    plane.peers.clear()
    await plane.meters.settle()
    assert plane.meters.lost({"a"}, [(plane.begin, None)]) == {"unseen"}
    assert plane.meters.lost({"a"}, []) == frozenset()


@pytest.mark.parametrize(
    ("begun", "ended", "doubtful"), [(-90, -60, True), (10, 20, True), (10, None, True), (55, None, False)]
)
async def test_what_was_served_while_no_process_was_heard_is_in_doubt_if_one_is_younger(
    plane: Plane, begun: int, ended: int | None, *, doubtful: bool
) -> None:
    await plane.meters.pull()
    (await plane.peer("a")).started = plane.begin + timedelta(seconds=50)
    plane.now = plane.begin + timedelta(seconds=60)
    await plane.meters.pull()
    until = plane.begin + timedelta(seconds=ended) if ended is not None else None
    busy = (plane.begin + timedelta(seconds=begun), until)
    assert bool(plane.meters.lost(frozenset(), [busy])) == doubtful


async def test_until_when_all_was_heard_is_known_while_it_is_known_which_processes_there_are(plane: Plane) -> None:
    silent = await plane.peer("a")
    assert plane.meters.until is None
    await plane.meters.pull()
    assert plane.meters.until == plane.begin
    plane.now += timedelta(seconds=2)
    silent.gate.clear()
    pull = asyncio.create_task(plane.meters.pull())
    while len(silent.asked) < 2:
        await asyncio.sleep(0)
    assert plane.meters.until == plane.begin, "what is asked is not heard yet"
    silent.gate.set()
    await pull
    assert plane.meters.until == plane.now
    silent.status = 503
    await plane.meters.pull()
    assert plane.meters.until is None
    await plane.meters.settle()
    assert plane.meters.until == plane.now


async def test_settling_tries_again_and_then_takes_the_silent_for_gone(plane: Plane) -> None:
    await plane.peer("a")
    silent = await plane.peer("b")
    await plane.meters.pull()
    silent.status = 503
    await plane.meters.settle()
    assert len(silent.asked) == 1 + meters_module.SETTLE_TRIES
    assert plane.meters.lost({"a", "b"}, []) == {"b"}
    assert plane.meters.lost(frozenset(), [(plane.begin, None)]) == {"b"}
    silent.status = 200
    await plane.meters.settle()
    assert plane.meters.lost({"a", "b"}, [(plane.begin, None)]) == frozenset()


async def test_who_settles_does_not_wait_for_what_is_known_to_be_silent(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plane.peer("a")
    silent = await plane.peer("b")
    await plane.meters.pull()
    silent.status = 503
    await plane.meters.settle()
    silent.gate.clear()
    try:
        with monkeypatch.context() as impatient:
            impatient.setattr(meters_module, "PULL_SECONDS", 3600)
            impatient.setattr(meters_module, "SILENT_SECONDS", 0.05)
            async with asyncio.timeout(60):
                await plane.meters.settle()
        assert plane.meters.lost({"a", "b"}, []) == {"b"}
    finally:
        silent.gate.set()
    silent.status = 200
    await plane.meters.settle()
    assert plane.meters.lost({"a", "b"}, []) == frozenset()


async def test_who_comes_during_a_pull_gets_the_next_one_and_shares_it(plane: Plane) -> None:
    peer = await plane.peer("a")
    peer.gate.clear()
    first = asyncio.create_task(plane.meters.pull())
    while not peer.asked:
        await asyncio.sleep(0)
    others = [asyncio.create_task(plane.meters.pull()) for _ in range(5)]
    await asyncio.sleep(0)
    peer.serves(3)
    peer.gate.set()
    assert await asyncio.gather(first, *others) == [True] * 6
    assert len(peer.asked) == 2
    assert plane.outputs() == {"a": 3}


async def test_a_deleted_session_is_forgotten(plane: Plane) -> None:
    (await plane.peer("a")).serves(1)
    await plane.meters.pull()
    plane.meters.forget(KEY)
    assert plane.outputs() == {}


async def test_a_credential_is_as_good_as_the_worst_that_is_said_of_it(plane: Plane) -> None:
    first, second = await plane.peer("a"), await plane.peer("b")
    assert plane.meters.credential(("n", "default"), 1) is None
    first.says("Ready")
    second.says("GrantMissing")
    await plane.meters.pull()
    found = plane.meters.credential(("n", "default"), 1)
    assert found is not None
    assert found.state == "GrantMissing"
    assert plane.meters.credential(("n", "default"), 2) is None
    second.says("Ready")
    await plane.meters.pull()
    found = plane.meters.credential(("n", "default"), 1)
    assert found is not None
    assert found.state == "Ready"
    assert plane.tenants == [("n", "default")] * 3


async def test_what_a_vanished_process_said_of_a_credential_is_forgotten(plane: Plane) -> None:
    (await plane.peer("a")).says("Ready")
    gone = await plane.peer("b")
    gone.says("SecretNotFound")
    await plane.meters.pull()
    plane.peers.remove(gone)
    plane.tenants.clear()
    await plane.meters.pull()
    found = plane.meters.credential(("n", "default"), 1)
    assert found is not None
    assert found.state == "Ready"
    assert plane.tenants == [("n", "default")]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"incarnation": 1}'])
async def test_what_is_not_a_report_is_silence(plane: Plane, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nonsense(_peer: Peer, _request: web.Request) -> web.Response:
        return web.Response(body=body)

    monkeypatch.setattr(Peer, "report", nonsense)
    await plane.peer("a")
    assert not await plane.meters.pull()
