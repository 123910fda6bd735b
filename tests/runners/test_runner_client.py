"""The client against runners that answer as a hostile agent would: one error of ours each, soon, and bounded."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from agentsession.keys.keyring import Keyring, verify
from agentsession.runners import client as client_module
from agentsession.runners.client import MAX_BYTES, RunnerClient, RunnerError, RunnerRefusedError, Target, runner_http
from agentsession_runner.protocol import CALL_AUDIENCE, MAX_TEXT, PromptRequest, State, TurnState

pytestmark = pytest.mark.unit

KEYRING = Keyring.generate(datetime.now(UTC))
GOOD = State(revision=3, phase="Ready", session_uid="s-1", session_id="66666666-7777-8888-9999-000000000000")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def calling(serve: Serve) -> AsyncIterator[tuple[RunnerClient, Target]]:
    """A client, and a server whose every connection `serve` handles."""
    ended: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with runner_http() as http:
        yield RunnerClient(http, lambda: KEYRING), Target("p-1", "127.0.0.1", "s-1", port)
    server.close()
    for task in ended:
        task.cancel()
    await asyncio.gather(*ended, return_exceptions=True)


def saying(raw: bytes) -> Serve:
    """Send that, then close."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return serve


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n".encode() + body


def state(**fields: object) -> bytes:
    """An answer with a state."""
    return http(json.dumps({**GOOD.model_dump(), **fields}).encode())


async def ask(raw: bytes) -> State:
    async with calling(saying(raw)) as (client, target):
        return await client.state(target, -1)


async def test_a_good_answer() -> None:
    assert await ask(state()) == GOOD


async def test_each_call_has_a_token_for_that_pod_session_and_action() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(state())

    async def recorded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        await reader.read(int(dict(_headers(head)).get("content-length", "0")))
        await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(recorded, "127.0.0.1", 0)
    async with server, runner_http() as session:
        client = RunnerClient(session, lambda: KEYRING)
        target = Target("p-1", "127.0.0.1", "s-1", server.sockets[0].getsockname()[1])
        await client.bind(target)
        await client.prompt(target, "u-1", "hello")
        await client.state(target, 2)
        await client.drain(target)
    lines = [head.split(b"\r\n")[0] for head in heads]
    assert lines[:2] == [b"POST /v1/bind HTTP/1.1", b"POST /v1/prompt HTTP/1.1"]
    assert lines[2].startswith(b"GET /v1/state?after=2&wait=25 ")
    assert lines[3] == b"POST /v1/drain HTTP/1.1"
    for head, action in zip(heads, ("bind", "prompt", "state", "drain"), strict=True):
        token = dict(_headers(head))["authorization"].removeprefix("Bearer ")
        claims = verify(token, KEYRING.jwks(), CALL_AUDIENCE, required=("exp",))
        assert (claims["pod_uid"], claims["session_uid"], claims["action"]) == ("p-1", "s-1", action)


def _headers(head: bytes) -> list[tuple[str, str]]:
    pairs = (line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    return [(name.lower(), value) for name, value in pairs]


async def test_control_characters_are_taken_out() -> None:
    turn = TurnState(uuid="u", phase="Failed", text="a\x1b[2Jb\nc\td\u202e", reason="x\ny\x00")
    got = await ask(state(message="m\r\nn\x9b", turns=[turn.model_dump()]))
    assert got.turns[0].text == "a[2Jb\nc\td"
    assert got.turns[0].reason == "x y"
    assert got.message == "m n"


REFUSED = [
    ("garbage", b"\x00\xff\xfe not http\r\n\r\n"),
    ("nothing", b""),
    ("not JSON", http(b"{]")),
    ("not a state", http(b"[]")),
    ("not UTF-8", http(b'{"revision": 1, "phase": "\xff"}')),
    ("deep JSON", http(b"[" * 100_000)),
    ("a number that is too large", http(b'{"revision": 1e999, "phase": "Ready"}')),
    ("a surrogate", http(b'{"revision": 1, "phase": "Ready", "message": "\\ud800"}')),
    ("a revision below zero", state(revision=-1)),
    ("a phase of its own", state(phase="Root")),
    ("too many turns", state(turns=[{"uuid": "u", "phase": "Running"}] * 129)),
    ("too long an answer", state(turns=[{"uuid": "u", "phase": "Completed", "text": "x" * 16385}])),
    ("too long an id", state(session_id="x" * 65)),
    ("an id that is a flag", state(session_id="--dangerously-skip-permissions")),
    ("an id with a line of its own", state(session_id=f"{GOOD.session_id}\n")),
    ("a revision that is too large", state(revision=2**63)),
    ("a gzip bomb", http(gzip.compress(bytes(2**26), 1), headers="Content-Encoding: gzip\r\n")),
    ("an endless header", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    ("many headers", b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: %s\r\n" % (n, b"x" * 8000) for n in range(2000))),
    ("a body that breaks off", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    ("a chunk without end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx"),
    ("an error", http(b"", "500 Oops")),
    ("no content", b"HTTP/1.1 204 No Content\r\n\r\n"),
]


@pytest.mark.parametrize("raw", [raw for _, raw in REFUSED], ids=[name for name, _ in REFUSED])
async def test_what_is_not_of_the_protocol_is_an_error_of_ours(raw: bytes) -> None:
    with pytest.raises(RunnerError) as caught:
        await ask(raw)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


async def test_a_conflict_is_a_refusal() -> None:
    with pytest.raises(RunnerRefusedError):
        await ask(http(b'{"error": "x"}', "409 Conflict"))


async def test_a_runner_that_is_then_anothers_has_refused() -> None:
    async with calling(saying(state(session_uid="s-2"))) as (client, target):
        with pytest.raises(RunnerRefusedError):
            await client.bind(target)


async def test_a_runner_that_was_asked_and_says_it_was_not_has_refused() -> None:
    async with calling(saying(state())) as (client, target):
        await client.bind(target)
        with pytest.raises(RunnerRefusedError):
            await client.bind(target, PromptRequest(uuid="66666666-7777-8888-9999-000000000001", text="hello"))


async def test_redirects_are_not_followed() -> None:
    asked = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(http(b"", "307 Temporary Redirect", "Location: /elsewhere\r\n"))
        await writer.drain()

    async with calling(serve) as (client, target):
        with pytest.raises(RunnerError, match="HTTP 307"):
            await client.state(target, -1)
    assert asked == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "a body": (CHUNKED, b"10000\r\n" + b" " * 0x10000 + b"\r\n"),
    "chunk extensions": (CHUNKED, (b"1;" + b"x" * 4000 + b"\r\n \r\n") * 16),
    "trailers": (CHUNKED + b"0\r\n", b"X: x\r\n" * 10_000),
    "informational answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_an_answer_without_end_is_read_no_further_than_its_bound(flood: str) -> None:
    head, part = FLOODS[flood]
    sent = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            sent += len(part)

    async with calling(serve) as (client, target):
        with pytest.raises(RunnerError, match="no answer to bind"):
            await client.bind(target)
    assert sent < 64 * MAX_BYTES, "more than what fits into the buffers between the two"


async def test_the_longest_state_of_the_protocol_is_well_below_the_bound() -> None:
    longest = GOOD.model_copy(
        update={
            "revision": 2**63 - 1,
            "message": "\x01" * 512,
            "turns": [
                *[TurnState(uuid="x" * 64, phase="Completed", truncated=True)] * 127,
                TurnState(uuid="x" * 64, phase="Failed", text="\x01" * MAX_TEXT, reason="\x01" * 512, truncated=True),
            ],
        }
    )
    raw = http(longest.model_dump_json().encode())
    assert len(raw) < 0.55 * MAX_BYTES
    assert len((await ask(raw)).turns) == 128


async def test_a_runner_that_drips_does_not_hold_a_call_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(client_module, "CALL_SECONDS", 0.3)

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with calling(serve) as (client, target):
        with pytest.raises(RunnerError, match="TimeoutError"):
            await client.state(target, -1)


async def test_nobody_there() -> None:
    async with runner_http() as session:
        client = RunnerClient(session, lambda: KEYRING)
        with pytest.raises(RunnerError, match="no answer to bind"):
            await client.bind(Target("p-1", "127.0.0.1", "s-1", 1))
