"""The isolation switches, attacked: first without them, to see the attack work, then as the runner runs."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, SystemMessage

from agentsession_runner.environment import cli_environment
from agentsession_runner.layout import Layout
from agentsession_runner.options import NEVER_TOOLS, sdk_options
from devcluster.scripted.server import Scripted
from tests.runner.harness import Egress, bodies, options, serving
from tests.runner.plants import plant, plant_for_shells

pytestmark = pytest.mark.unit

SESSION_ID = "5a3f1b52-6a3e-4a55-8c54-7d3c7ab00003"
DUMP = '[[tool: Bash {"command": "env -0 > env"}]]'
BY_THE_CLI = {
    *("AI_AGENT", "CLAUDECODE", "CLAUDE_AGENT_SDK_VERSION", "CLAUDE_CODE_CHILD_NOTES_DIR", "CLAUDE_CODE_CHILD_SESSION"),
    *("CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_EXECPATH", "CLAUDE_CODE_MESSAGING_SOCKET", "CLAUDE_CODE_MESSAGING_TOKEN"),
    *("CLAUDE_CODE_SESSION_ATTENDED", "CLAUDE_CODE_SESSION_ID", "CLAUDE_EFFORT", "CLAUDE_PID"),
    *("COREPACK_ENABLE_AUTO_PIN", "GIT_EDITOR", "NoDefaultCurrentDirectoryInExePath", "PWD", "SHLVL", "_"),
}
"""Variables that CLI and shell add to the agent's own."""
VOLATILE = re.compile(r"toolu_\w+|cc_version=[\w.]+|\d{4}-\d\d-\d\d")


async def unprotected(options: ClaudeAgentOptions) -> set[str]:
    """One turn of a CLI that is not a runner's; returns the names of its tools."""
    tools: set[str] = set()
    async with ClaudeSDKClient(options) as client:
        await client.query(DUMP)
        async for message in client.receive_response():
            if isinstance(message, SystemMessage) and message.subtype == "init":
                tools.update(message.data["tools"])
    return tools


def shell_variables(layout: Layout) -> dict[str, str]:
    """The environment of the agent's last DUMP."""
    entries = (layout.work / "env").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def seen(body: Mapping[str, Any]) -> str:
    """What the model is told, without ids, dates and the build."""
    return VOLATILE.sub("*", json.dumps([body["system"], body["tools"], body["messages"]]))


async def test_what_is_planted_works_without_the_switches(
    egress: Egress, model: Scripted, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in os.environ:
        monkeypatch.delenv(name)
    plant(layout, ran=tmp_path / "ran")
    plant_for_shells(layout.home, ran=tmp_path / "ran")
    safe = sdk_options(options(), layout, egress.url, SESSION_ID)
    open_ = replace(
        safe, setting_sources=None, strict_mcp_config=False, session_id=None, tools=["Agent", "Bash", "Skill"]
    )
    switches = ("CLAUDE_CODE_DISABLE_", "CLAUDE_AGENT_SDK_DISABLE_")
    variables: set[str] = set()
    for dropped in (switches, (*switches, "CLAUDE_CONFIG_DIR")):
        env = {name: value for name, value in safe.env.items() if not name.startswith(dropped)}
        await unprotected(replace(open_, env=env))
        variables |= {name for name in shell_variables(layout) if "PLANT" in name}
    told = set(re.findall(r"PLANT-[-\w]+", json.dumps(bodies(model))))
    kinds = ("dot-md", "rule", "agent", "skill")
    assert told >= {f"PLANT-{kind}-{place}" for kind in kinds for place in ("cwd", "parent", "user", "home")}
    assert told >= {"PLANT-md-cwd", "PLANT-md-parent", "PLANT-local-md", "PLANT-memory", "PLANT-style"}
    assert {path.name for path in (tmp_path / "ran").iterdir()} >= {
        *("hook-settings-cwd", "hook-settings-local-cwd", "hook-settings-user", "hook-settings-home"),
        *("mcp-cwd", "mcp-parent", "user-mcp-config", "user-mcp-home", "project-mcp-config", "project-mcp-home"),
    }
    assert variables >= {
        *("PLANT_settings_cwd", "PLANT_settings_local_cwd", "PLANT_settings_user", "PLANT_settings_home"),
        *("PLANT_global_config", "PLANT_global_home", "PLANT_bashrc"),
    }


@pytest.mark.trap("planted-files")
@pytest.mark.trap("inherited-environment")
async def test_what_is_planted_changes_nothing_in_a_runner(
    egress: Egress, model: Scripted, layout: Layout, tmp_path: Path
) -> None:
    agent = options(tools=["Agent", "Bash"], subagents={"mine": {"description": "Helps.", "prompt": "Help."}})
    for planted in (False, True):
        if planted:
            plant(layout, ran=tmp_path / "ran")
            plant_for_shells(layout.home, ran=tmp_path / "ran")
        async with serving(egress, layout, agent) as runner:
            assert (await runner.ask(DUMP)).phase == "Completed"
        variables = shell_variables(layout)
        assert variables.keys() - BY_THE_CLI == cli_environment(layout, egress.url).keys()
        assert variables.items() >= cli_environment(layout, egress.url).items()
    before, after = ([seen(body) for body in bodies(model)[n : n + 2]] for n in (0, 2))
    assert before == after
    assert "- mine: Helps." in before[0], "the user's own subagent is missing"
    assert not list((tmp_path / "ran").iterdir())
    assert len(list(layout.claude.glob("projects/*/*.jsonl"))) == 2, "the first session's transcript is gone"


@pytest.mark.trap("other-sessions")
@pytest.mark.trap("idle-is-not-idle")
async def test_tools_that_no_runner_has(egress: Egress, model: Scripted, layout: Layout) -> None:
    agent = options(tools=["Bash", *NEVER_TOOLS], allowed_tools=NEVER_TOOLS)
    safe = sdk_options(agent, layout, egress.url, SESSION_ID)
    env = {name: value for name, value in safe.env.items() if not name.startswith("CLAUDE_CODE_DISABLE_")}
    exposed = await unprotected(replace(safe, disallowed_tools=[], env=env))
    assert exposed >= {"SendMessage", "ListAgents", "CronCreate", "ScheduleWakeup", "Monitor", "WebFetch", "WebSearch"}
    async with serving(egress, layout, agent) as runner:
        await runner.ask("Hello.")
    assert [tool["name"] for tool in bodies(model)[-1]["tools"]] == ["Bash"]
