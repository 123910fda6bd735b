"""A conversation that goes on in another runner, over the same folders: the real CLI, drained, killed and resumed."""

import asyncio
import json
import os
import re
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


def in_order(text: str, *parts: str) -> bool:
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


def resumed(session_id: str | None) -> dict[str, str]:
    assert session_id is not None
    return {ENV_RESUME: session_id}


async def ready(runner: Runner) -> State:
    return await runner.until(lambda s: s.phase == "Ready")


async def test_all_that_was_said_goes_on_and_nothing_that_was_planted(
    egress: Egress, model: Scripted, layout: Layout, tmp_path: Path
) -> None:
    """The first of three runners is asked nothing: its conversation begins in the second, under the id that it told."""
    async with serving(egress, layout, options()) as runner:
        first = await ready(runner)
        assert await runner.terminate() == EXIT_TERMINATED
    async with serving(egress, prepared(layout.root), options(), {ENV_SESSION_ID: str(first.session_id)}) as runner:
        await runner.ask('[[tool: Bash {"command": "echo made > made.txt"}]] [[say: It is done.]]')
        await runner.ask("[[say: Second.]]")
        assert await runner.terminate() == EXIT_TERMINATED
    plant(layout, ran=tmp_path / "ran")
    before = len(bodies(model))
    async with serving(egress, prepared(layout.root), options(), resumed(first.session_id)) as runner:
        assert (await ready(runner)).session_id == first.session_id
        assert len(bodies(model)) == before, "a resume alone asked the model"
        assert (await runner.ask('[[tool: Bash {"command": "env"}]] [[say: Third.]]')).text == "Third."
    assert in_order(said(bodies(model)[-1]), "echo made", "It is done.", "[[say: Second.]]", "[[say: Third.]]")
    assert {record.session for record in model.records.records()} == {first.session_id}
    assert (layout.work / "made.txt").read_text() == "made\n"
    assert "PLANT" not in json.dumps(bodies(model))
    assert not list((tmp_path / "ran").iterdir())


async def test_turns_that_are_drained_can_be_gone_on_with(egress: Egress, model: Scripted, layout: Layout) -> None:
    works = ("[[stream: events=100000 interval=0.05]]", "[[hang]]", BASH)
    more: dict[str, str] = {}
    for work in works:
        async with serving(egress, prepared(layout.root), options(), more) as runner:
            first = await ready(runner)
            before = len(bodies(model))
            prompt = await runner.prompt(work)
            await asked(model, after=before)
            cli = runner.cli_pid()
            last = await runner.drained()
            told = [(turn.uuid, turn.phase, turn.reason) for turn in last.turns]
            assert told == [(prompt, "Interrupted", "interrupted")]
            assert (await runner.state()).turns == last.turns, "its last word does not stand"
            assert await runner.terminate() == EXIT_TERMINATED
            with pytest.raises(ProcessLookupError):
                os.kill(cli, 0)
        more = resumed(first.session_id)
    async with serving(egress, prepared(layout.root), options(), more) as runner:
        assert (await runner.ask(GO_ON)).phase == "Completed"
    each = [text for work in works for text in (json.dumps(work)[1:-1], "interrupted")]
    assert in_order(said(bodies(model)[-1]), *each, GO_ON)


async def test_a_drain_right_after_a_prompt_leaves_no_doubt_whether_it_was_asked(
    egress: Egress, model: Scripted, layout: Layout
) -> None:
    asks: dict[str, bool] = {}
    more: dict[str, str] = {}
    for calls_between in (0, 2):
        async with serving(egress, prepared(layout.root), options(), more) as runner:
            session_id = str((await ready(runner)).session_id)
            text = f"Never mind {calls_between}."
            prompt = await runner.prompt(f"[[say: {text}]]")
            for _ in range(calls_between):
                await runner.state()
            last = await runner.drained()
            assert await runner.terminate() == EXIT_TERMINATED
        asks[text] = any(turn.uuid == prompt for turn in last.turns)
        more = resumed(session_id) if any(asks.values()) else {ENV_SESSION_ID: session_id}
    async with serving(egress, prepared(layout.root), options(), more) as runner:
        assert (await runner.ask(GO_ON)).phase == "Completed"
        assert (await runner.state()).session_id == session_id
    assert {text: text in said(bodies(model)[-1]) for text in asks} == asks


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
    assert in_order(said(bodies(model)[-1]), "First.", "> begun", GO_ON)


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


def _is_told_of(layout: Layout) -> bool:
    return any("> begun" in transcript.read_text() for transcript in layout.claude.glob("projects/*/*.jsonl"))
