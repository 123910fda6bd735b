"""A hostile runner and its neighbour: each attack is first shown to hurt where the bound is off."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agentsession.api.session import AgentSession
from agentsession.egress import bodies, connections, refusals, screening
from agentsession.egress.bodies import Body, Buffers
from agentsession.egress.refusal import Refusal
from agentsession.egress.screen import MESSAGES, Screened
from agentsession.egress.screening import Screening
from devcluster.scripted.server import Scripted

from . import build
from .conftest import HEADERS, from_address, prompt, until
from .plane import Plane, listening

pytestmark = pytest.mark.unit
ATTACKER = "127.0.0.2"
OFF = 10**9


@contextlib.asynccontextmanager
async def connected(plane: Plane, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """That many connections from the attacker's address, on which nothing is said."""
    port = int(plane.url.rpartition(":")[2])
    made = [await asyncio.open_connection(build.ADDRESS, port, local_addr=(ATTACKER, 0)) for _ in range(count)]
    try:
        yield [reader for reader, _ in made]
    finally:
        for _, writer in made:
            writer.close()


async def is_served(agent: aiohttp.ClientSession) -> bool:
    """Whether an honest request of pod a, on a new connection, is answered."""
    try:
        async with agent.post("/v1/messages", json=prompt("hello")) as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


@pytest.mark.parametrize(("per_address", "served"), [(OFF, False), (8, True)], ids=["off", "on"])
async def test_connections_of_one_address_leave_room_for_others(
    plane: Plane, agent: aiohttp.ClientSession, per_address: int, served: bool
) -> None:
    plane.connections.altogether = 20
    plane.connections.per_address = per_address
    async with connected(plane, 30):
        await until(lambda: plane.connections.open[ATTACKER] == min(20, per_address))
        assert await is_served(agent) is served
    await until(lambda: not plane.connections.open[ATTACKER])
    assert await is_served(agent)


@pytest.mark.parametrize(("seconds", "closed"), [(3600.0, False), (0.2, True)], ids=["off", "on"])
async def test_half_a_request_holds_no_connection(
    model: Scripted, monkeypatch: pytest.MonkeyPatch, seconds: float, closed: bool
) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", seconds)
    async with listening(model.url) as plane:
        port = int(plane.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection(build.ADDRESS, port)
        writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n")
        reading = asyncio.create_task(reader.read())
        done, _ = await asyncio.wait([reading], timeout=1)
        assert bool(done) is closed
        writer.close()


async def test_half_a_body_holds_no_place(
    plane: Plane, agent: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(never: asyncio.Event) -> AsyncIterator[bytes]:
        yield b'{"model":'
        await never.wait()

    async def send() -> int:
        headers = {"content-type": "application/json"}
        async with agent.post("/v1/messages", data=slowly(asyncio.Event()), headers=headers) as answer:
            return answer.status

    sending = [asyncio.create_task(send()) for _ in range(8)]
    await until(lambda: len(plane.calls) == 8)
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert answer.status == 429, "the attack: the session's places are taken"
    for each in sending:
        each.cancel()
    await until(lambda: not plane.calls)

    monkeypatch.setattr(bodies, "RECEIVE_SECONDS", 0.2)
    assert await asyncio.gather(*(send() for _ in range(8))) == [408] * 8
    assert not plane.calls


def session(name: str = "a", namespace: str = "team") -> AgentSession:
    return AgentSession.model_validate(build.session(name, namespace=namespace))


def test_what_is_held_is_bounded_for_session_tenant_and_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in (("SESSION_BYTES", 10), ("TENANT_BYTES", 15), ("TOTAL_BYTES", 20)):
        monkeypatch.setattr(bodies, name, limit)
    buffers = Buffers()
    assert buffers.hold(session("a"), 10) is None
    refused = buffers.hold(session("a"), 1)
    assert refused is not None
    assert (refused.status, refused.final) == (503, False)
    assert buffers.hold(session("b"), 5) is None
    assert buffers.hold(session("c"), 1) is not None, "the tenant's share is used up"
    assert buffers.hold(session("d", "other"), 5) is None
    assert buffers.hold(session("e", "third"), 1) is not None, "everything is used up"
    buffers.release(session("a"), 10)
    assert buffers.hold(session("c"), 1) is None
    assert len(buffers) == 11


@pytest.mark.parametrize(("limit", "status", "held"), [(OFF, 200, True), (4000, 503, False)], ids=["off", "on"])
async def test_bodies_of_one_session_do_not_fill_the_memory(
    plane: Plane,
    agent: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    status: int,
    held: bool,
) -> None:
    """Five bodies of 1,500 bytes that do not end; then an honest one."""
    monkeypatch.setattr(bodies, "SESSION_BYTES", limit)
    go_on = asyncio.Event()

    async def unfinished() -> AsyncIterator[bytes]:
        yield b" " * 1500
        await go_on.wait()

    headers = {"content-type": "application/json"}
    sending = [asyncio.create_task(post(agent, unfinished(), headers)) for _ in range(5)]
    await until(
        lambda: (
            len(plane.model.buffers) >= 3000
            and len(plane.model.buffers) + 1500 * sum(each.done() for each in sending) == 7500
        )
    )
    assert (len(plane.model.buffers) > 4000) is held
    async with agent.post("/v1/messages", json=prompt("x" * 2000)) as answer:
        assert answer.status == status
    go_on.set()
    await asyncio.gather(*sending)
    assert len(plane.model.buffers) == 0


async def post(agent: aiohttp.ClientSession, data: Any, headers: dict[str, str]) -> int:
    async with agent.post("/v1/messages", data=data, headers=headers) as answer:
        return answer.status


async def test_a_body_is_held_no_longer_than_until_the_provider_has_it(
    plane: Plane, agent: aiohttp.ClientSession
) -> None:
    async with agent.post("/v1/messages", json=prompt("[[hang: after=2]]", stream=True)) as answer:
        await answer.content.readany()
        assert len(plane.calls) == 1
        assert len(plane.model.buffers) == 0


def values(count: int) -> bytes:
    """A body of so many values, in as few bytes as can be."""
    return json.dumps(prompt("hello", metadata={"x": [{}] * count})).encode()


def screened_by(*_: object) -> Refusal:
    """Tells which process it runs in."""
    return Refusal(400, "api_error", str(os.getpid()))


@pytest.mark.parametrize("short", [OFF, screening.SHORT], ids=["off", "on"])
async def test_a_body_that_takes_long_to_parse_is_parsed_elsewhere(monkeypatch: pytest.MonkeyPatch, short: int) -> None:
    monkeypatch.setattr(screening, "SHORT", short)
    monkeypatch.setattr(screening, "screen_body", screened_by)
    screen = Screening()
    told = await screen(MESSAGES, Body(Buffers(), session(), structure=screening.SHORT), build.parsed_tenant())
    assert isinstance(told, Refusal)
    assert int(told.message) == os.getpid()
    told = await screen(MESSAGES, Body(Buffers(), session(), structure=10_000), build.parsed_tenant())
    assert isinstance(told, Refusal)
    assert (int(told.message) == os.getpid()) is (short == OFF)


PARENT = """
import asyncio, os, signal
from agentsession.egress import screening

async def main():
    pool = screening._started()
    print(pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_the_screening_process_ends_with_the_one_that_it_belongs_to(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        printed, _ = await process.communicate()  # ends when neither process holds the pipe any more
    assert process.returncode == -signal.SIGKILL
    assert int(printed) != process.pid


async def test_a_long_body_is_screened_as_every_other(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    headers = {"content-type": "application/json"}
    assert await post(agent, values(5000), headers) == 200
    twice = values(5000).replace(b"{}]", b'{"a": 1, "a": 2}]')
    assert await post(agent, twice, headers) == 400
    assert [record.body for record in model.records.records()] == [values(5000)]


@pytest.mark.parametrize(("limit", "status"), [(OFF, 200), (4000, 413)], ids=["off", "on"])
async def test_a_body_of_too_many_values_is_refused_as_it_arrives(
    plane: Plane, agent: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, limit: int, status: int
) -> None:
    monkeypatch.setattr(bodies, "MAX_STRUCTURE", limit)
    assert await post(agent, values(2500), {"content-type": "application/json"}) == status


class Queue(Executor):
    """A process that is as slow as the test wants it."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Future[Any]]] = []

    def submit(self, _: Any, /, *args: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((bytes(args[1]).decode(), future))
        return future


async def test_long_bodies_of_one_tenant_wait_for_each_other_not_others_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = Queue()
    monkeypatch.setattr(screening, "_started", lambda: queue)
    screen = Screening()

    def job(text: str, namespace: str) -> asyncio.Task[Screened | Refusal]:
        tenant = build.parsed_tenant()
        tenant.metadata.namespace = namespace
        body = Body(Buffers(), session(), data=bytearray(text.encode()), structure=10_000)
        return asyncio.create_task(screen(MESSAGES, body, tenant))

    tasks = [job("a1", "team"), job("a2", "team"), job("a3", "team"), job("b1", "other")]
    await until(lambda: len(queue.jobs) == 2)
    assert [text for text, _ in queue.jobs] == ["a1", "b1"]
    done = Screened(MESSAGES, "m", streamed=False, max_tokens=1)
    for at in range(4):
        await until(lambda at=at: len(queue.jobs) > at)  # type: ignore[misc]
        queue.jobs[at][1].set_result(done)
    assert await asyncio.gather(*tasks) == [done] * 4


async def refused(agent: aiohttp.ClientSession, count: int) -> list[int]:
    """Ask for what is refused, again and again."""
    return [await post(agent, b"{", {"content-type": "application/json"}) for _ in range(count)]


async def test_refusals_do_not_fill_the_audit(
    plane: Plane, agent: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines() -> list[dict[str, Any]]:
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [line for line in printed if line["audit"].startswith("refused")]

    monkeypatch.setattr(refusals, "AT_ONCE", OFF)
    with monkeypatch.context() as off:
        off.setattr(refusals, "AUDITED", OFF)
        await refused(agent, 50)
        assert len(lines()) == 50, "the attack"
    async with from_address(plane, ATTACKER) as stranger:
        await refused(stranger, 50)
        assert len(lines()) == refusals.AUDITED
        plane.refusals.now = lambda: time.monotonic() + refusals.WINDOW_SECONDS
        await refused(stranger, 1)
    told, _ = [line for line in lines() if line["peer"] == ATTACKER]
    assert (told["audit"], told["count"]) == ("refused_more", 50 - refusals.AUDITED)


@pytest.mark.parametrize(("at_once", "slowed"), [(OFF, False), (5, True)], ids=["off", "on"])
async def test_who_goes_on_asking_is_refused_slowly(
    plane: Plane, agent: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, at_once: int, slowed: bool
) -> None:
    monkeypatch.setattr(refusals, "AT_ONCE", at_once)
    monkeypatch.setattr(refusals, "SLOW_SECONDS", 3600)
    assert await refused(agent, 5) == [400] * 5
    asking = asyncio.create_task(refused(agent, 1))
    await asyncio.wait([asking], timeout=0.5)
    assert asking.done() is not slowed
    async with from_address(plane, ATTACKER) as stranger:
        assert await post(stranger, b"{", {"content-type": "application/json"}) == 403, "another is told at once"
    assert await is_served(agent)
    asking.cancel()


async def test_an_unknown_route_is_refused_as_slowly(
    plane: Plane, agent: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "AT_ONCE", 1)
    monkeypatch.setattr(refusals, "SLOW_SECONDS", 3600)
    async with agent.get("/v1/files") as answer:
        assert answer.status == 404
    for path in ("/v1/files", "/v1/identity"):
        async with aiohttp.ClientSession(plane.url, headers=HEADERS) as stranger:
            asking = asyncio.create_task(stranger.post(path))
            await asyncio.wait([asking], timeout=0.2)
            assert not asking.done()
            asking.cancel()
