"""Pulling from several egress processes, some of which restart, fall silent or vanish."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from agentsession.kube.shards import Shard
from agentsession.usage import meters as meters_module

from .plane import KEY, Peer, Plane

pytestmark = pytest.mark.unit


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
