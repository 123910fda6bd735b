"""The real CLI, driven as the operator drives it."""

import os
import signal

import pytest
from agentsession_runner.layout import Layout

from devcluster.scripted.server import Scripted
from tests.runner.harness import Egress, options, serving

pytestmark = pytest.mark.unit


async def test_answers_and_remembers(egress: Egress, model: Scripted, layout: Layout) -> None:
    async with serving(egress, layout, options()) as runner:
        state = await runner.until(lambda s: s.phase == "Ready")
        assert not model.records.records(), "a runner without a prompt asked the model"
        first = await runner.ask('[[tool: Bash {"command": "echo made > made.txt"}]] [[say: It is done.]]')
        print(first); print([(r.status,r.error,r.violation,r.headers) for r in model.records.records()]);
        assert (first.phase, first.text) == ("Completed", "It is done.")
        assert (layout.work / "made.txt").read_text() == "made\n"
        second = await runner.ask("[[say: Again.]]")
        assert second.text == "Again."
        print(model.records.records()[-1].body.decode())
        print(dict(model.records.records()[-1].headers))
        print((await runner.state()).model_dump_json(indent=1))
        os.kill(runner.process.pid, signal.SIGTERM)
        assert await runner.exit_code() == 0
    print("".join(runner.log))
    assert 0
