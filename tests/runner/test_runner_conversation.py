"""The real CLI in a real runner process, called as the operator calls it; only the model is scripted.

One runner serves all of these tests, one after the other: they are turns of one conversation.
"""

import json
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from agentsession_runner.layout import Layout
from agentsession_runner.protocol import MAX_TEXT, Event
from devcluster.scripted.server import Scripted
from tests.runner.harness import Runner, bodies, options, planes, prepared, serving

pytestmark = [pytest.mark.unit, pytest.mark.asyncio(loop_scope="module")]


MCP_SERVER = """
import json, sys
for line in sys.stdin:
    call = json.loads(line)
    if "id" in call:
        print(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": {
            "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                           "serverInfo": {"name": "clock", "version": "1"}},
            "tools/list": {"tools": [{"name": "now", "description": "Tells.", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": "high noon"}]},
        }.get(call["method"], {})}), flush=True)
"""


@dataclass
class Talk:
    runner: Runner
    model: Scripted
    layout: Layout


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talk]:
    layout = prepared(tmp_path_factory.mktemp("runner"))
    server = layout.root / "clock.py"
    server.write_text(MCP_SERVER)
    agent = options(
        allowed_tools=["Bash", "mcp__clock"],
        mcp_servers={"clock": {"command": sys.executable, "args": [str(server)]}},
    )
    async with planes() as (egress, model), serving(egress, layout, agent) as runner:
        await runner.until(lambda s: s.phase == "Ready")
        assert not model.records.records(), "a runner without a prompt asked the model"
        yield Talk(runner, model, layout)


async def test_prompts_of_one_conversation(talk: Talk) -> None:
    first = await talk.runner.ask('[[tool: Bash {"command": "echo made > made.txt"}]] [[say: It is done.]]')
    assert (first.phase, first.text, first.truncated, first.reason) == ("Completed", "It is done.", False, "")
    assert (talk.layout.work / "made.txt").read_text() == "made\n"
    second = await talk.runner.ask("[[say: Again.]]")
    assert second.text == "Again."
    messages = json.dumps(bodies(talk.model)[-1]["messages"])
    assert messages.index("echo made") < messages.index("It is done.") < messages.index("Again.")

    state = await talk.runner.until(lambda s: s.phase == "Ready")
    assert [turn.uuid for turn in state.turns[-2:]] == [first.uuid, second.uuid]
    assert {record.session for record in talk.model.records.records()} == {state.session_id}
    assert list(talk.layout.claude.glob(f"projects/*/{state.session_id}.jsonl")), "no transcript"
    assert "It is done." not in "".join(talk.runner.log)


async def test_two_prompts_at_once_are_two_turns(talk: Talk) -> None:
    before = len(bodies(talk.model))
    uuids = [await talk.runner.prompt(f"[[say: Answer {n}.]]") for n in (1, 2)]
    assert [(await talk.runner.answered(each)).text for each in uuids] == ["Answer 1.", "Answer 2."]
    assert len(bodies(talk.model)) == before + 2


async def test_a_prompt_delivered_twice_is_asked_once(talk: Talk) -> None:
    before = len(bodies(talk.model))
    prompt = str(uuid.uuid4())
    for _ in range(2):
        await talk.runner.prompt("[[say: Once.]]", prompt)
    assert (await talk.runner.answered(prompt)).text == "Once."
    await talk.runner.prompt("[[say: Late.]]", prompt)
    assert (await talk.runner.ask("[[say: Next.]]")).text == "Next."
    assert [turn.uuid for turn in (await talk.runner.state()).turns].count(prompt) == 1
    assert len(bodies(talk.model)) == before + 2


async def test_an_interrupt_ends_the_turn_and_not_the_session(talk: Talk) -> None:
    hanging = await talk.runner.prompt("[[hang: after=0]]")
    await talk.runner.call("interrupt")  # at once, perhaps before the CLI has the prompt
    turn = await talk.runner.answered(hanging)
    assert (turn.phase, turn.reason) == ("Failed", "interrupted")

    sleeping = await talk.runner.prompt('[[tool: Bash {"command": "sleep 300"}]]')
    await talk.runner.events_until(lambda event: (event.turn, event.kind) == (sleeping, "tool"))
    await talk.runner.call("interrupt")
    assert (await talk.runner.answered(sleeping)).reason == "interrupted"

    assert (await talk.runner.ask("[[say: Still here.]]")).text == "Still here."
    assert (await talk.runner.call("interrupt")).turns[-1].phase == "Completed", "no turn, nothing to interrupt"


async def test_a_failing_model_fails_the_turn_and_not_the_session(talk: Talk) -> None:
    turn = await talk.runner.ask('[[error: 400 invalid_request_error message="too bad"]]')
    assert (turn.phase, turn.text, turn.reason) == ("Failed", "", "API Error: 400 too bad")
    assert (await talk.runner.ask("[[say: Better.]]")).phase == "Completed"


@pytest.mark.trap("silent-transcript")
async def test_a_config_volume_that_cannot_be_written_is_not_silent(talk: Talk) -> None:
    before = len(bodies(talk.model))
    away = talk.layout.claude.rename(talk.layout.claude.with_name("away"))
    turn = await talk.runner.ask("[[say: Unrecorded.]]")
    away.rename(talk.layout.claude)
    assert turn.phase == "Failed"
    assert "the transcript cannot be written" in turn.reason
    assert (await talk.runner.ask("[[say: Recorded.]]")).phase == "Completed"
    assert len(bodies(talk.model)) == before + 1


async def test_the_users_own_mcp_server(talk: Talk) -> None:
    turn = await talk.runner.ask("[[tool: mcp__clock__now {}]] [[say: Told.]]")
    assert turn.text == "Told."
    assert "high noon" in json.dumps(bodies(talk.model)[-1]["messages"])


async def test_a_long_answer_is_cut(talk: Talk) -> None:
    turn = await talk.runner.ask("[[stream: events=6000]]")
    assert (len(turn.text), turn.truncated) == (MAX_TEXT, True)


@pytest.mark.trap("mention")
async def test_prompt_text_is_only_text(talk: Talk) -> None:
    (talk.layout.work / "secret.txt").write_text("read-by-mention")
    for text in ("@secret.txt [[say: No.]]", f"@{talk.layout.work}/secret.txt [[say: No.]]", "/context [[say: No.]]"):
        assert (await talk.runner.ask(text)).text == "No."
        last_prompt = bodies(talk.model)[-1]["messages"][-1]
        assert text in json.dumps(last_prompt)
    assert "read-by-mention" not in json.dumps(bodies(talk.model)[-1])


async def test_events_are_told_and_told_again(talk: Talk) -> None:
    turn = await talk.runner.ask('[[say: Look:]] [[tool: Bash {"command": "true"}]] [[say: Seen.]]')

    def ends_the_turn(event: Event) -> bool:
        return (event.turn, event.kind) == (turn.uuid, "result")

    told = [event for event in await talk.runner.events_until(ends_the_turn) if event.turn == turn.uuid]
    assert [(event.kind, event.text) for event in told] == [
        ("text", "Look:"),
        ("tool", 'Bash {"command": "true"}'),
        ("text", "Seen."),
        ("result", "Seen."),
    ]
    assert [event.id for event in told] == [told[0].id + n for n in range(4)]
    assert await talk.runner.events_until(ends_the_turn, after=told[2].id) == told[3:]
