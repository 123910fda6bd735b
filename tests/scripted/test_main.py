import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import aiohttp
import pytest

from tests.scripted.build import body

pytestmark = pytest.mark.unit

HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}


async def _start(*arguments: str) -> Process:
    command = (sys.executable, "-m", "devcluster.scripted", *arguments)
    return await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2], stdout=PIPE, stderr=PIPE)


async def test_it_serves_a_script_until_it_is_told_to_stop(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("rules: [{match: hello, steps: ['[[say: Scripted.]]']}]")
    process = await _start("--port", "0", "--script", str(script), "--api-key", "k")
    assert process.stderr
    url = (await process.stderr.readline()).decode().split()[-1]
    async with aiohttp.ClientSession(url, headers=HEADERS) as client:
        async with client.post("/v1/messages", json=body("hello")) as response:
            assert (await response.json())["content"] == [{"type": "text", "text": "Scripted."}]
        async with client.post("/v1/messages", json=body("hello"), headers={"x-api-key": "other"}) as response:
            assert response.status == 401
    process.terminate()
    _, log = await process.communicate()
    assert process.returncode == 0
    assert b"1 POST /v1/messages session= 200 completed" in log


async def test_a_script_that_cannot_be_read_is_said_and_nothing_starts(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("rules: [{match: hello}]")
    process = await _start("--port", "0", "--script", str(script))
    _, log = await process.communicate()
    assert process.returncode == 1
    assert log.decode() == f"scripted: {script}: rules.0.steps: Field required\n"


async def test_the_help_explains_the_markers() -> None:
    process = await _start("--help")
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"[[repeat: N MARKERS]]" in out
