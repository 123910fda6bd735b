"""A conversation that goes on in another runner, over the same folders: the real CLI, drained, killed and resumed."""

import asyncio
import json
import os
import signal
import uuid
from pathlib import Path

import pytest

from agentsession_runner.layout import Layout
from agentsession_runner.protocol import ENV_RESUME, ENV_SESSION_ID, EXIT_TERMINATED, State
from devcluster.scripted.server import Scripted
from tests.runner.harness import PATIENCE, Egress, Runner, asked, bodies, options, prepared, serving
from tests.runner.plants import plant

pytestmark = pytest.mark.unit

GO_ON = "Go on from where you stopped."
BASH = '[[tool: Bash {"command": "echo $$ > begun; exec sleep 1000"}]]'


def said(body: dict[str, object]) -> str:
    return json.dumps(body["messages"])


def resumed(session_id: str | None) -> dict[str, str]:
    assert session_id is not None
    return {ENV_RESUME: session_id}


async def ready(runner: Runner) -> State:
    return await runner.until(lambda s: s.phase == "Ready")


async def test_all_that_was_said_goes_on(egress: Egress, model: Scripted, layout: Layout) -> None:
    async with serving(egress, layout, options()) as runner:
        first = await ready(runner)
        await runner.ask('[[tool: Bash {"command": "echo made > made.txt"}]] [[say: It is done.]]')
        await runner.ask("[[say: Second.]]")
        assert await runner.terminate() == EXIT_TERMINATED
    before = len(bodies(model))
    async with serving(egress, prepared(layout.root), options(), resumed(first.session_id)) as runner:
        assert (await ready(runner)).session_id == first.session_id
        assert len(bodies(model)) == before, "a resume alone asked the model"
        assert (await runner.ask("[[say: Third.]]")).text == "Third."
    last = said(bodies(model)[-1])
    order = [last.index(text) for text in ("echo made", "It is done.", "[[say: Second.]]", "[[say: Third.]]")]
    assert order == sorted(order)
    assert {record.session for record in model.records.records()} == {first.session_id}
    assert (layout.work / "made.txt").read_text() == "made\n"


@pytest.mark.parametrize("work", ["[[stream: events=100000 interval=0.05]]", "[[hang]]", BASH])
async def test_a_turn_that_is_drained_can_be_gone_on_with(
    egress: Egress, model: Scripted, layout: Layout, work: str
) -> None:
    async with serving(egress, layout, options()) as runner:
        first = await ready(runner)
        prompt = await runner.prompt(work)
        await asked(model)
        cli = runner.cli_pid()
        last = await runner.drained()
        assert [(turn.uuid, turn.phase, turn.reason) for turn in last.turns] == [(prompt, "Interrupted", "interrupted")]
        assert (await runner.state()).turns == last.turns, "its last word does not stand"
        assert await runner.terminate() == EXIT_TERMINATED
        with pytest.raises(ProcessLookupError):
            os.kill(cli, 0)
    async with serving(egress, prepared(layout.root), options(), resumed(first.session_id)) as runner:
        assert (await runner.ask(GO_ON)).phase == "Completed"
    last_body = said(bodies(model)[-1])
    assert last_body.index(json.dumps(work)[1:-1]) < last_body.index("interrupted") < last_body.index(GO_ON)


@pytest.mark.parametrize("calls_between", [0, 2])
async def test_a_drain_right_after_a_prompt_leaves_no_doubt_whether_it_was_asked(
    egress: Egress, model: Scripted, layout: Layout, calls_between: int
) -> None:
    async with serving(egress, layout, options()) as runner:
        first = await ready(runner)
        prompt = await runner.prompt("[[say: Never mind.]]")
        for _ in range(calls_between):
            await runner.state()
        last = await runner.drained()
        assert await runner.terminate() == EXIT_TERMINATED
    told = {turn.uuid: turn.phase for turn in last.turns}.get(prompt)
    more = resumed(first.session_id) if told else {ENV_SESSION_ID: str(first.session_id)}
    async with serving(egress, prepared(layout.root), options(), more) as runner:
        assert (await runner.ask(GO_ON)).phase == "Completed"
        assert (await runner.state()).session_id == first.session_id
    assert (told is not None) == ("Never mind." in said(bodies(model)[-1]))


async def test_a_killed_runner_leaves_a_conversation_that_can_be_gone_on_with(
    egress: Egress, model: Scripted, layout: Layout
) -> None:
    async with serving(egress, layout, options()) as runner:
        first = await ready(runner)
        await runner.ask("[[say: First.]]")
        await runner.prompt(BASH)
        async with asyncio.timeout(PATIENCE):
            while not (layout.work / "begun").exists() or not _is_told_of(layout):  # the CLI writes a moment later
                await asyncio.sleep(0.02)
        os.killpg(runner.process.pid, signal.SIGKILL)
        await runner.exit_code()
    os.kill(int((layout.work / "begun").read_text()), signal.SIGKILL)  # what the CLI's shell runs outlives them all
    (transcript,) = layout.claude.glob("projects/*/*.jsonl")
    with transcript.open("a") as half_written:
        half_written.write('{"type":"user","mess')
    async with serving(egress, prepared(layout.root), options(), resumed(first.session_id)) as runner:
        assert (await runner.ask(GO_ON)).phase == "Completed"
    last = said(bodies(model)[-1])
    assert last.index("First.") < last.index("> begun") < last.index(GO_ON)


async def test_a_fresh_conversation_under_an_id_that_was_told_before(
    egress: Egress, model: Scripted, layout: Layout
) -> None:
    async with serving(egress, layout, options()) as runner:
        first = await ready(runner)
        assert await runner.terminate() == EXIT_TERMINATED
    async with serving(egress, prepared(layout.root), options(), {ENV_SESSION_ID: str(first.session_id)}) as runner:
        assert (await runner.ask("[[say: Hello.]]")).text == "Hello."
    assert {record.session for record in model.records.records()} == {first.session_id}


async def test_a_conversation_that_is_not_there_is_not_begun_anew(
    egress: Egress, model: Scripted, layout: Layout
) -> None:
    async with serving(egress, layout, options(), resumed(str(uuid.uuid4()))) as runner:
        state = await runner.until(lambda s: s.phase != "Starting")
        assert state.phase == "Failed"
        assert "No conversation found" in state.message
        status, _ = await runner.post("prompt", {"uuid": str(uuid.uuid4()), "text": "more"})
        assert status == 409
    assert not bodies(model)


async def test_what_an_agent_plants_for_its_next_runner_changes_nothing(
    egress: Egress, model: Scripted, layout: Layout, tmp_path: Path
) -> None:
    async with serving(egress, layout, options()) as runner:
        first = await ready(runner)
        await runner.ask("[[say: First.]]")
        assert await runner.terminate() == EXIT_TERMINATED
    plant(layout, ran=tmp_path / "ran")
    async with serving(egress, prepared(layout.root), options(), resumed(first.session_id)) as runner:
        assert (await runner.ask('[[tool: Bash {"command": "env"}]]')).phase == "Completed"
    assert "First." in said(bodies(model)[-1])
    assert "PLANT" not in json.dumps(bodies(model))
    assert not list((tmp_path / "ran").iterdir())


def _is_told_of(layout: Layout) -> bool:
    return any("> begun" in transcript.read_text() for transcript in layout.claude.glob("projects/*/*.jsonl"))
