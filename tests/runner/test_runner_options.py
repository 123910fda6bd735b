"""What the CLI is started with."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ProcessError

from agentsession_runner.layout import Layout
from agentsession_runner.options import sdk_options
from agentsession_runner.protocol import AgentOptions
from tests.runner.harness import INHERITED

pytestmark = pytest.mark.unit

SESSION_ID = "5a3f1b52-6a3e-4a55-8c54-7d3c7ab00003"
EGRESS = "http://egress.agentsession.internal:8080"
LEAST = AgentOptions(model="claude-sonnet-5", tools=["Bash"])
MOST = AgentOptions.model_validate(
    {
        "model": "claude-opus-5",
        "system_prompt": "--dangerously-skip-permissions",
        "tools": ["Agent", "Read"],
        "allowed_tools": ["Bash(ls:*)"],
        "disallowed_tools": ["Read(/etc/**)"],
        "permission_mode": "acceptEdits",
        "effort": "low",
        "mcp_servers": {"files": {"command": "/opt/files", "args": ["--root", "."]}},
        "output_schema": {"type": "object"},
        "subagents": {"critic": {"description": "Reviews.", "prompt": "Review.", "tools": ["Read"], "max_turns": 3}},
    }
)
GOLDEN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/bash",
    "HOME": "/tmp/home",  # noqa: S108
    "TMPDIR": "/tmp/run",  # noqa: S108
    "ANTHROPIC_BASE_URL": EGRESS,
    "CLAUDE_CONFIG_DIR": "/config/claude",
    "CLAUDE_CODE_TMPDIR": "/tmp/run",  # noqa: S108
    "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "60000",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1",
    "CLAUDE_CODE_DISABLE_CRON": "1",
    "CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS": "1",
}
BY_THE_SDK = {
    "CLAUDE_CODE_ENTRYPOINT": "sdk-py",
    "CLAUDE_AGENT_SDK_VERSION": "0.2.186",
    "CLAUDE_CODE_SDK_READS_SESSION_STATE": "1",
}
NEVER = (
    "CronCreate,CronDelete,CronList,ListAgents,Monitor,RemoteTrigger,ScheduleWakeup,SendMessage,"
    "WebFetch,WebSearch,Workflow"
)
GOLDEN_FLAGS = [
    *("--output-format", "stream-json", "--verbose"),
    *("--system-prompt", ""),
    *("--tools", "Bash"),
    *("--disallowedTools", NEVER),
    *("--model", "claude-sonnet-5"),
    *("--permission-mode", "dontAsk"),
    f"--session-id={SESSION_ID}",
    *("--settings", '{"apiKeyHelper": "cat /tmp/identity/token"}'),
    "--strict-mcp-config",
    "--setting-sources=",
    *("--input-format", "stream-json"),
]


async def started(options: ClaudeAgentOptions, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of the process that the SDK starts."""
    program = folder / "cli"
    script = f"cat /proc/$$/cmdline > {folder}/argv; cat /proc/$$/environ > {folder}/env; read request; exit 7"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    with pytest.raises(ProcessError):
        await ClaudeSDKClient(replace(options, cli_path=program, cwd=folder)).connect()
    argv = (folder / "argv").read_text().split("\0")[2:-1]
    variables = (folder / "env").read_text().split("\0")[:-1]
    return argv, dict(variable.split("=", 1) for variable in variables)


def built(agent: AgentOptions) -> ClaudeAgentOptions:
    return sdk_options(agent, Layout(), EGRESS, SESSION_ID)


@pytest.mark.parametrize("agent", [LEAST, MOST], ids=["least", "most"])
@pytest.mark.trap("limits-restart")
def test_no_choice_of_the_user_turns_a_switch_off(agent: AgentOptions) -> None:
    chosen = built(agent)
    assert chosen.setting_sources == []
    assert chosen.strict_mcp_config
    assert chosen.verbatim_prompts
    assert chosen.cwd == Path("/workspace/work")
    assert chosen.env == GOLDEN_ENVIRONMENT
    assert set(NEVER.split(",")) <= set(chosen.disallowed_tools)
    assert chosen.max_buffer_size == 64 << 20
    assert json.loads(str(chosen.settings)) == {"apiKeyHelper": "cat /tmp/identity/token"}
    assert chosen.session_id == SESSION_ID
    assert not chosen.extra_args
    assert not chosen.plugins
    assert chosen.hooks is None
    assert chosen.max_turns is None, "limits are the egress plane's: a flag would be part of a warm runner's shape"


def test_what_the_user_chose() -> None:
    chosen = built(MOST)
    assert (chosen.model, chosen.effort, chosen.permission_mode) == ("claude-opus-5", "low", "acceptEdits")
    assert chosen.system_prompt == "--dangerously-skip-permissions"
    assert (chosen.tools, chosen.allowed_tools) == (["Agent", "Read"], ["Bash(ls:*)"])
    assert chosen.disallowed_tools[-1] == "Read(/etc/**)"
    assert chosen.mcp_servers == {"files": {"type": "stdio", "command": "/opt/files", "args": ["--root", "."]}}
    assert chosen.output_format == {"type": "json_schema", "schema": {"type": "object"}}
    assert chosen.agents is not None
    critic = chosen.agents["critic"]
    assert (critic.description, critic.prompt, critic.tools, critic.maxTurns) == ("Reviews.", "Review.", ["Read"], 3)


async def test_an_empty_list_of_tools_is_none_and_not_all(tmp_path: Path) -> None:
    argv, _ = await started(replace(built(LEAST), tools=[]), tmp_path)
    assert argv[argv.index("--tools") + 1] == ""


@pytest.mark.trap("no-home")
async def test_flags_and_environment_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in INHERITED.items():
        if name != "LD_PRELOAD":
            monkeypatch.setenv(name, value)
    _, environment = await started(built(LEAST), tmp_path)
    assert environment.keys() >= INHERITED.keys() - {"LD_PRELOAD"}
    for name in list(os.environ):
        monkeypatch.delenv(name)  # as __main__ does
    argv, environment = await started(built(LEAST), tmp_path)
    assert argv == GOLDEN_FLAGS
    assert environment == GOLDEN_ENVIRONMENT | BY_THE_SDK | {"PWD": str(tmp_path)}


async def test_a_conversation_that_is_taken_up_is_named_as_such_only(tmp_path: Path) -> None:
    argv, _ = await started(sdk_options(LEAST, Layout(), EGRESS, SESSION_ID, resume=True), tmp_path)
    assert [flag for flag in argv if SESSION_ID in flag] == [f"--resume={SESSION_ID}"]


async def test_no_text_of_the_user_is_taken_for_a_flag(tmp_path: Path) -> None:
    argv, _ = await started(built(MOST), tmp_path)
    assert argv[argv.index("--dangerously-skip-permissions") - 1] == "--system-prompt"
