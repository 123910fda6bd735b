"""How a runner process ends: drained, told to stop, without its CLI, or never started."""

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from agentsession_runner.layout import Layout
from agentsession_runner.protocol import EXIT_NO_IDENTITY, EXIT_TERMINATED
from devcluster.scripted.server import Scripted
from tests.runner.harness import SESSION_UID, Egress, asked, bodies, environment, options, prepared, serving

pytestmark = pytest.mark.unit


@pytest.mark.trap("killed-turn")
async def test_a_killed_cli_fails_the_turn_and_is_never_asked_again(
    egress: Egress, model: Scripted, layout: Layout
) -> None:
    async with serving(egress, layout, options()) as runner:
        running = await runner.prompt("[[hang]]")
        queued = await runner.prompt("[[say: Never asked.]]")
        await asked(model)
        os.kill(runner.cli_pid(), signal.SIGKILL)
        state = await runner.until(lambda s: s.phase == "Failed")
        assert "exit code -9" in state.message
        assert [(turn.uuid, turn.phase) for turn in state.turns] == [(running, "Failed"), (queued, "Failed")]
        assert all("exit code -9" in turn.reason for turn in state.turns)
        status, refusal = await runner.post("prompt", {"uuid": str(uuid.uuid4()), "text": "more"})
        assert (status, refusal) == (409, {"error": "this runner takes no more prompts: it is Failed"})
        assert await runner.terminate() == EXIT_TERMINATED
    assert len(bodies(model)) == 1


async def test_an_answer_without_the_form_that_was_asked_for_is_none(
    egress: Egress, layout: Layout, model: Scripted
) -> None:
    schema = {"type": "object", "properties": {"class": {"type": "string"}}, "required": ["class"]}
    async with serving(egress, layout, options(output_schema=schema)) as runner:
        formed = await runner.ask('[[tool: StructuredOutput {"class": "bug"}]]')
        assert (formed.phase, json.loads(formed.text)) == ("Completed", {"class": "bug"})
        words = await runner.ask("[[say: It is a bug.]]")
        assert (words.phase, words.text) == ("Failed", "")
        assert words.reason.startswith("no answer of the form of agent.outputFormat: ")
        again = await runner.ask('[[tool: StructuredOutput {"class": "noise"}]]')
        assert (again.phase, json.loads(again.text)) == ("Completed", {"class": "noise"})


async def test_a_runner_that_waits_in_a_pool_ends_with_its_cli(egress: Egress, layout: Layout) -> None:
    async with serving(egress, layout, options(), bound=False) as runner:
        await runner.until(lambda s: s.phase == "Ready")
        os.kill(runner.cli_pid(), signal.SIGKILL)
        assert await runner.exit_code() == EXIT_TERMINATED
    assert "the agent process ended before a session came: " in "".join(runner.log)


async def test_sigterm_in_a_turn_drains(egress: Egress, model: Scripted, layout: Layout) -> None:
    async with serving(egress, layout, options()) as runner:
        session_id = (await runner.until(lambda s: s.phase == "Ready")).session_id
        await runner.prompt("[[stream: events=100000 interval=0.05]]")
        await asked(model)
        cli = runner.cli_pid()
        runner.process.send_signal(signal.SIGTERM)
        assert await runner.exit_code() == EXIT_TERMINATED
        with pytest.raises(ProcessLookupError):  # the CLI did not outlive the runner
            os.kill(cli, 0)
    (transcript,) = layout.claude.glob(f"projects/*/{session_id}.jsonl")
    assert "[Request interrupted by user]" in transcript.read_text(), "the turn did not end well"
    said = [line for line in "".join(runner.log).splitlines() if "ld.so" not in line]  # the loader, of LD_PRELOAD
    lines = [json.loads(line) for line in said]
    about = [line["message"] for line in lines if line.get("session") == SESSION_UID and line["message"] != "connected"]
    assert about == ["bound", "turn begins", "draining", "turn ended", "drained"]


@pytest.mark.trap("no-credential")
def test_no_agent_without_an_identity(tmp_path: Path) -> None:
    layout = prepared(tmp_path)
    layout.identity_token.unlink()
    ended = subprocess.run(
        [sys.executable, "-m", "agentsession_runner", "--root", str(tmp_path), "serve", "--port", "0"],
        env=environment("http://127.0.0.1:1", options()), check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert ended.returncode == EXIT_NO_IDENTITY
    assert str(layout.identity_token) in layout.termination_log.read_text()


async def test_sigterm_before_the_agent_is_there(egress: Egress, layout: Layout) -> None:
    async with serving(egress, layout, options()) as runner:
        assert (await runner.state()).phase == "Starting", "the server waited for the agent"
        runner.process.send_signal(signal.SIGTERM)
        assert await runner.exit_code() == EXIT_TERMINATED
    assert "Traceback" not in "".join(runner.log)


@pytest.mark.trap("silent-transcript")
async def test_no_agent_without_a_config_volume(egress: Egress, layout: Layout) -> None:
    layout.claude.rmdir()
    async with serving(egress, layout, options()) as runner:
        state = await runner.until(lambda s: s.phase == "Failed")
        assert str(layout.claude) in state.message
        assert await runner.terminate() == EXIT_TERMINATED


async def test_bad_options_say_why(egress: Egress, layout: Layout) -> None:
    async with serving(egress, layout, options(output_schema={"type": "no-such-type"})) as runner:
        state = await runner.until(lambda s: s.phase != "Starting")
        assert state.phase == "Failed"
        assert state.message.startswith("the agent process ended: exit code 1; it said: Error: --json-schema")
