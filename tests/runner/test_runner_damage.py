"""Transcripts that are damaged, or cannot be written: nothing of that is silent, and no conversation begins anew."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from claude_agent_sdk import ClaudeSDKClient, ClaudeSDKError

from agentsession_runner.folders import TRANSCRIPTS, check_transcript
from agentsession_runner.layout import Layout
from agentsession_runner.options import sdk_options
from agentsession_runner.protocol import ENV_RESUME
from devcluster.scripted.server import Scripted
from tests.runner.harness import PATIENCE, Egress, bodies, options, planes, prepared, serving, unprotected

pytestmark = pytest.mark.unit

SESSION_ID = "5a3f1b52-6a3e-4a55-8c54-7d3c7ab00003"
IN_ITS_PLACE: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link": lambda path: path.symlink_to(path.with_name("elsewhere")),
}


def written(config: Path) -> Path:
    """A transcript."""
    folder = config / TRANSCRIPTS / "-workspace-work"
    folder.mkdir(parents=True)
    (folder / "elsewhere").write_text("{}\n")
    path = folder / f"{SESSION_ID}.jsonl"
    path.write_text("{}\n")
    return path


@pytest.mark.parametrize("place", IN_ITS_PLACE)
def test_what_is_no_file_is_refused(tmp_path: Path, place: str) -> None:
    transcript = written(tmp_path)
    check_transcript(tmp_path, SESSION_ID)
    transcript.unlink()
    IN_ITS_PLACE[place](transcript)
    with pytest.raises(OSError, match=SESSION_ID):
        check_transcript(tmp_path, SESSION_ID)


def test_what_cannot_be_read_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config, me = Path(folder), os.geteuid()
        config.chmod(0o755)
        written(config).chmod(0)
        try:
            if me == 0:  # who may read everything
                os.seteuid(65534)
            with pytest.raises(PermissionError, match=SESSION_ID):
                check_transcript(config, SESSION_ID)
        finally:
            os.seteuid(me)


@dataclass
class Told:
    """A conversation of three turns, in a runner's folders."""

    egress: Egress
    model: Scripted
    layout: Layout
    transcript: Path
    lines: list[bytes]

    def left(self, *lines: bytes) -> dict[str, str]:
        """Leave those lines as its transcript; returns what a runner is told that takes it up."""
        prepared(self.layout.root)
        self.transcript.write_bytes(b"".join(lines))
        return {ENV_RESUME: self.transcript.stem}

    def questions(self) -> list[int]:
        """Which of them the model was told last."""
        messages = json.dumps(bodies(self.model)[-1]["messages"])
        return [n for n in range(3) if f"Question {n}." in messages]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    layout = prepared(tmp_path_factory.mktemp("runner"))
    async with planes() as (egress, model):
        async with serving(egress, layout, options()) as runner:
            for n in range(3):
                await runner.ask(f"[[say: Answer.]] Question {n}.")
            await runner.terminate()
        (transcript,) = layout.claude.glob(f"{TRANSCRIPTS}/*/*.jsonl")
        yield Told(egress, model, layout, transcript, transcript.read_bytes().splitlines(keepends=True))


@pytest.mark.trap("damaged-transcript")
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_between_good_lines_takes_nothing_away(told: Told) -> None:
    """The end of a write that was cut off, a line of zeros as after a power cut, a huge one, and another session's."""
    odd = (b'{"type":"user","mess\n', bytes(4096) + b"\n", b'{"type":"user","text":"' + b"x" * (6 << 20) + b'"}\n')
    foreign = [line.replace(told.transcript.stem.encode(), str(uuid.uuid4()).encode()) for line in told.lines]
    async with serving(told.egress, told.layout, options(), told.left(*foreign, *odd)) as runner:
        assert (await runner.ask("[[say: More.]]")).text == "More."
        assert (await runner.state()).session_id == told.transcript.stem
    assert told.questions() == [0, 1, 2]


@pytest.mark.trap("damaged-transcript")
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_lost_is_lost_and_the_rest_goes_on(told: Told) -> None:
    """Nothing tells: a volume that loses writes is not noticed here."""
    first = next(n for n, line in enumerate(told.lines) if b'"type":"assistant"' in line)
    async with serving(told.egress, told.layout, options(), told.left(*told.lines[first + 1 :])) as runner:
        assert (await runner.ask("[[say: More.]]")).text == "More."
    assert told.questions() == [1, 2]


@pytest.mark.parametrize("lines", [[], [bytes(range(256)) * 16]], ids=["nothing", "garbage"])
@pytest.mark.asyncio(loop_scope="module")
async def test_where_no_line_is_left_no_conversation_begins(told: Told, lines: list[bytes]) -> None:
    before = len(bodies(told.model))
    async with serving(told.egress, told.layout, options(), told.left(*lines)) as runner:
        state = await runner.until(lambda s: s.phase != "Starting")
    assert state.phase == "Failed"
    assert "No conversation found" in state.message
    assert len(bodies(told.model)) == before


async def read_by_somebody(pipe: Path) -> int:
    """Its other end, when there is one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OSError):
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            await asyncio.sleep(0.01)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_pipe_in_its_place_holds_nobody_up(told: Told) -> None:
    left = told.left()
    told.transcript.unlink()
    os.mkfifo(told.transcript)
    safe = sdk_options(options(), told.layout, told.egress.url, told.transcript.stem, resume=True)
    connecting = asyncio.create_task(ClaudeSDKClient(safe).connect())
    pipe = await read_by_somebody(told.transcript)
    assert not (await asyncio.wait([connecting], timeout=1))[0], "the CLI does not wait for what never comes"
    os.close(pipe)
    with pytest.raises(ClaudeSDKError):
        await connecting
    async with serving(told.egress, told.layout, options(), left) as runner:
        state = await runner.until(lambda s: s.phase != "Starting")
    told.transcript.unlink()
    assert state.phase == "Failed"
    assert "not a file" in state.message


@pytest.fixture
def small(layout: Layout) -> Iterator[Layout]:
    """Its configuration is on a volume of 2 MiB."""
    shutil.rmtree(layout.claude)
    volume = layout.claude.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", volume], check=True)
    yield prepared(layout.root)
    subprocess.run(["umount", "--lazy", volume], check=True)


@pytest.mark.trap("silent-transcript")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small volume")
async def test_a_full_config_volume_is_not_silent(egress: Egress, model: Scripted, small: Layout) -> None:
    with suppress(OSError), (small.claude / "full").open("wb", 0) as file:
        while True:
            file.write(bytes(4096))
    loose = sdk_options(options(), small, egress.url, SESSION_ID)
    assert (await unprotected(loose, "[[say: Unrecorded.]]")).result == "Unrecorded."
    assert not any(b"Unrecorded" in path.read_bytes() for path in small.claude.glob(f"{TRANSCRIPTS}/*/*.jsonl"))
    (small.claude / "full").unlink()
    async with serving(egress, small, options()) as runner:
        assert (await runner.ask("[[say: Recorded.]]")).text == "Recorded."
        fill = '[[tool: Bash {"command": "cat /dev/zero > $CLAUDE_CONFIG_DIR/full"}]] [[say: It is full.]]'
        assert (await runner.ask(fill)).text == "It is full."
        before = len(bodies(model))
        turn = await runner.ask("[[say: Unrecorded.]]")
        assert turn.phase == "Failed"
        assert "No space left on device" in turn.reason
        assert len(bodies(model)) == before
        (small.claude / "full").unlink()
        assert (await runner.ask("[[say: Recorded too.]]")).phase == "Completed"
