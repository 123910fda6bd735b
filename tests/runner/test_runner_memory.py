"""A process that the kernel killed for want of memory is told from one that ended by itself."""

from pathlib import Path

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ProcessError

from agentsession_runner import agent, memory
from agentsession_runner.agent import SdkAgent

pytestmark = pytest.mark.unit

V2 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"memory.events": V2}, 2),
        ({"memory/memory.oom_control": V1}, 1),
        ({"memory.events": V2.replace("oom_kill 2", "oom_kill 0")}, 0),
        ({"memory.events": "low 0\n"}, 0),
        ({}, 0),
    ],
)
def test_what_the_kernel_counts(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.oom_kills(tmp_path) == kills


@pytest.mark.parametrize("kills", [0, 2])
def test_it_is_part_of_why_the_agent_died(monkeypatch: pytest.MonkeyPatch, kills: int) -> None:
    monkeypatch.setattr(agent, "oom_kills", lambda: kills)
    died = SdkAgent(ClaudeAgentOptions())._died(ProcessError("failed", exit_code=-9))
    assert "exit code -9" in str(died)
    assert ("killed for want of memory: 2" in str(died)) == bool(kills)
