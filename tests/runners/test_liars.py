"""What each lying runner does to who asks it without our bounds; test_liars_apiserver.py has them meet the operator."""

import asyncio
import json
import math

import aiohttp
import pytest
from pydantic import ValidationError

from agentsession.runners.client import MAX_BYTES, RunnerClient, RunnerError, Target, runner_http
from agentsession.sessions import decide as decide_module
from agentsession.sessions.plan import Prompt
from agentsession.sessions.turns import progress, turn_uuid
from agentsession_runner.protocol import State
from tests.sessions.build import INSTALL, NOW, UID, observed, pod, runner, session

from . import liars
from .test_runner_client import KEYRING

pytestmark = pytest.mark.unit

PROMPT = {"uuid": turn_uuid(UID, "prompt"), "text": "hello"}


async def believed(liar: liars.Liar, seconds: float = 10) -> str:
    """What a plain client takes of it, bound and prompted."""
    async with (
        liar.listening("127.0.0.1", 0) as port,
        aiohttp.TCPConnector(force_close=True) as connector,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}/v1/", connector=connector) as http,
        asyncio.timeout(seconds),
        http.post("bind", data=json.dumps({"session_uid": UID, "prompt": PROMPT})) as response,
    ):
        return await response.text()


@pytest.mark.parametrize("liar", [liars.Forger(), liars.Failing()])
async def test_they_write_on_terminals(liar: liars.Liar) -> None:
    assert "\\u001b" in await believed(liar)


async def test_one_has_an_answer_to_what_nobody_asked() -> None:
    turns = json.loads(await believed(liars.Forger()))["turns"]
    assert [turn["uuid"] == PROMPT["uuid"] for turn in turns] == [True, False]


async def test_one_hides_a_flag_of_the_cli_in_an_id() -> None:
    told = await believed(liars.Flag())
    assert json.loads(told)["session_id"].startswith("--")
    with pytest.raises(ValidationError):
        State.model_validate_json(told)


async def test_one_puts_its_text_into_the_error_of_who_parses_it() -> None:
    with pytest.raises(ValidationError, match="<script>"):
        State.model_validate_json(await believed(liars.WebPage()))


async def test_one_sends_its_caller_elsewhere() -> None:
    victim = liars.Liar()
    async with victim.listening("127.0.0.1", 0) as port:
        await believed(liars.Elsewhere(f"http://127.0.0.1:{port}/v1/state"))
    assert victim.connections


@pytest.mark.parametrize("liar", [liars.Frozen(), liars.Dripping()])
async def test_they_hold_their_caller(liar: liars.Liar) -> None:
    with pytest.raises(TimeoutError):
        await believed(liar, 0.5)


@pytest.mark.parametrize("kind", [liars.Endless, liars.Huge])
async def test_they_are_read_for_as_long_as_somebody_reads(kind: type[liars.Raw]) -> None:
    bounded, unbounded = kind(), kind()
    async with bounded.listening("127.0.0.1", 0) as port, runner_http() as http:
        with pytest.raises(RunnerError):
            await RunnerClient(http, lambda: KEYRING).bind(Target("p-1", "127.0.0.1", UID, port))
    reading = asyncio.create_task(believed(unbounded, 60))
    while unbounded.longest < bounded.longest + 8 * MAX_BYTES:
        assert not reading.done()
        await asyncio.sleep(0.01)
    reading.cancel()


async def test_one_is_prompted_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = observed(pod=pod(), runner=runner(), refusals=10**6)
    assert not decide_module.decide(session(), refused, INSTALL, NOW).actions
    monkeypatch.setattr(decide_module, "MOST_REFUSALS", math.inf)
    asked = decide_module.decide(session(), refused, INSTALL, NOW).actions
    assert [type(action) for action in asked][-1] is Prompt


async def test_one_answers_for_another_session() -> None:
    told = State.model_validate_json(await believed(liars.Impostor()))
    assert progress(session(), "hello", told, NOW).answered, "nothing else tells that it is another's"
    assert told.session_uid not in (None, UID)
    made = decide_module.decide(session(), observed(pod=pod(), runner=told), INSTALL, NOW)
    assert made.status.result is None


async def test_one_is_another_conversation_each_time() -> None:
    """What becomes of who reconciles each change: test_listeners.py."""
    fickle = liars.Fickle()
    first, second = [State.model_validate_json(await believed(fickle)) for _ in range(2)]
    assert first.session_id != second.session_id
    assert first.revision != second.revision
