"""What the runner's HTTP server refuses, and with which status. No agent process takes part."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest

from agentsession.keys.keyring import Keyring
from agentsession_runner.auth import CallVerifier, KeySource
from agentsession_runner.journal import Journal
from agentsession_runner.protocol import Action
from agentsession_runner.server import MAX_BODY, Server
from agentsession_runner.session import MAX_TURNS, Session
from tests.runner.harness import POD_UID, SESSION_UID, Caller, Egress, listening, now

pytestmark = pytest.mark.unit

ACTIONS: dict[Action, tuple[str, object]] = {
    "bind": ("POST", {"session_uid": SESSION_UID}),
    "prompt": ("POST", {"uuid": "1", "text": "t"}),
    "state": ("GET", None),
    "events": ("GET", None),
    "interrupt": ("POST", None),
    "drain": ("POST", None),
}


@pytest.fixture
async def caller(egress: Egress) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        verifier = CallVerifier(KeySource(http, egress.url), POD_UID)
        session = Session(Journal(), check_disk=lambda: None)
        async with listening(Server(session, verifier).app()) as url:
            yield Caller(http, url, egress.keyring)


@pytest.mark.parametrize("action", ACTIONS)
async def test_every_call_needs_its_own_token(caller: Caller, action: Action) -> None:
    method, body = ACTIONS[action]
    hour_ago = now() - timedelta(hours=1)
    other_action: Action = "drain" if action != "drain" else "state"
    await caller.bind()
    for name, token, status in (
        ("none", "", 401),
        ("a stranger's", caller.token(action, keyring=Keyring.generate(now())), 401),
        ("an expired one", caller.token(action, at=hour_ago), 401),
        ("another pod's", caller.token(action, pod_uid="another"), 403),
        ("another action's", caller.token(other_action), 403),
        ("another session's", caller.token(action, session_uid="another"), 403),
    ):
        answer = await caller.request(method, f"/v1/{action}", token, body)
        assert answer[0] == status, name
        assert answer[1]["error"]
    state = await caller.state()
    assert (state.phase, state.turns) == ("Starting", []), "a refused call did something"


async def test_health_needs_no_token(caller: Caller) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{caller.url}/healthz") as response:
        assert response.status == 200


async def test_binds_once(caller: Caller) -> None:
    assert (await caller.state()).session_uid is None
    assert (await caller.bind()).session_uid == SESSION_UID
    assert (await caller.bind()).session_uid == SESSION_UID
    token = caller.token("bind", session_uid="another")
    status, answer = await caller.request("POST", "/v1/bind", token, {"session_uid": "another"})
    assert (status, "bound to another session" in str(answer["error"])) == (409, True)


async def test_binds_only_what_the_token_names(caller: Caller) -> None:
    status, _ = await caller.post("bind", {"session_uid": "another"})
    assert status == 403
    assert (await caller.state()).session_uid is None


async def test_no_prompt_before_bind_nor_after_drain(caller: Caller) -> None:
    status, answer = await caller.post("prompt", {"uuid": "1", "text": "t"})
    assert (status, "bind first" in str(answer["error"])) == (409, True)
    await caller.bind()
    await caller.prompt("t", "1")
    assert (await caller.call("drain")).phase == "Draining"
    assert (await caller.post("prompt", {"uuid": "2", "text": "t"}))[0] == 409
    assert (await caller.post("prompt", {"uuid": "1", "text": "t"}))[0] == 200, "a known uuid is no new prompt"


async def test_prompts_are_bounded_in_number(caller: Caller) -> None:
    await caller.bind()
    for n in range(MAX_TURNS):
        await caller.prompt("t", str(n))
    status, answer = await caller.post("prompt", {"uuid": "one more", "text": "t"})
    assert (status, "has had 128" in str(answer["error"])) == (409, True)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"text": "private"}, 400, "uuid: Field required"),
        ({"uuid": "x" * 65, "text": "private"}, 400, "uuid: "),
        ({"uuid": "1", "text": "private" * 50_000}, 400, "text: "),
        (["private"], 400, "body: "),
        ({"uuid": "1", "text": "private" * MAX_BODY}, 413, "Too Large"),
    ],
)
async def test_a_bad_body_is_named_and_not_quoted(caller: Caller, body: object, status: int, says: str) -> None:
    await caller.bind()
    refused, answer = await caller.post("prompt", body)
    assert refused == status
    assert says in str(answer["error"])
    assert "private" not in str(answer["error"])


async def test_the_longest_prompt_fits(caller: Caller) -> None:
    await caller.bind()
    assert (await caller.post("prompt", {"uuid": "1", "text": "😀" * 200_000}))[0] == 200


@pytest.mark.parametrize("query", ["after=x", "wait=soon", "wait=nan", "after=inf"])
async def test_a_bad_query(caller: Caller, query: str) -> None:
    status, answer = await caller.request("GET", f"/v1/state?{query}", caller.token("state"))
    assert (status, "not a number" in str(answer["error"])) == (400, True)


async def test_an_unknown_path_is_an_error_body_too(caller: Caller) -> None:
    assert await caller.request("GET", "/v2/state", "") == (404, {"error": "Not Found"})


async def test_state_waits_for_what_is_new(caller: Caller) -> None:
    state = await caller.state()
    assert await caller.state(after=state.revision, wait=0.01) == state
    async with asyncio.timeout(10):
        newer, _ = await asyncio.gather(caller.state(after=state.revision, wait=30), caller.bind())
    assert newer.session_uid == SESSION_UID
