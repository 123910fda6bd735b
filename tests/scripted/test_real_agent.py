"""The real CLI accepts what the scripted model sends, and sends nothing that its checks refuse."""

from pathlib import Path

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, ToolResultBlock, UserMessage

from devcluster.scripted.server import Scripted

pytestmark = pytest.mark.unit

COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def _options(scripted: Scripted, home: Path) -> ClaudeAgentOptions:
    folders = {name: home / name for name in ("config", "tmp", "work")}
    for folder in folders.values():
        folder.mkdir()
    return ClaudeAgentOptions(
        model="claude-opus-5-5",
        cwd=folders["work"],
        tools=["Bash"],
        allowed_tools=["Bash"],
        permission_mode="dontAsk",  # bypassPermissions is refused to root, which a test container often is
        setting_sources=[],
        strict_mcp_config=True,
        verbatim_prompts=True,
        env={
            "ANTHROPIC_BASE_URL": scripted.url,
            "ANTHROPIC_API_KEY": "test",
            "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CONFIG_DIR": str(folders["config"]),
            "HOME": str(folders["tmp"]),
            "NO_PROXY": "127.0.0.1",
            "TMPDIR": str(folders["tmp"]),
        },
    )


async def _turn(agent: ClaudeSDKClient, prompt: str) -> tuple[ResultMessage, list[str]]:
    """Return the result of a turn and what its tools printed."""
    printed: list[str] = []
    await agent.query(prompt)
    async for message in agent.receive_response():
        if isinstance(message, UserMessage) and isinstance(message.content, list):
            printed += [str(block.content) for block in message.content if isinstance(block, ToolResultBlock)]
        if isinstance(message, ResultMessage):
            return message, printed
    raise AssertionError("the agent ended without a result")


async def test_a_conversation_of_the_real_agent(scripted: Scripted, tmp_path: Path) -> None:
    async with ClaudeSDKClient(_options(scripted, tmp_path)) as agent:
        plain, _ = await _turn(agent, "hello [[say: Good day.]] [[usage: in=100 out=20 cache_read=30 cache_write=40]]")
        assert (plain.result, plain.is_error) == ("Good day.", False)
        assert plain.usage
        assert [plain.usage[name] for name in COUNTS] == [100, 40, 30, 20]

        tools, printed = await _turn(
            agent,
            '[[say: I look.]] [[tool: Bash {"command": "[[ -d . ]] && echo first"}]] '
            '[[tool: Bash {"command": "echo second"}]] [[also: Bash {"command": "echo third"}]] [[say: Seen.]]',
        )
        assert tools.result == "Seen."
        assert sorted(printed) == ["first", "second", "third"]
        # Before any fault: whether the agent counts an attempt that was cut depends on how much of it it had read.
        served = scripted.records.usage()["total"]
        assert isinstance(served, dict)
        assert {name: served[name] for name in COUNTS} == {
            name: sum((result.usage or {})[name] for result in (plain, tools)) for name in COUNTS
        }

        cut, _ = await _turn(agent, "[[cut: times=1]] [[say: Back again.]]")
        assert (cut.result, cut.is_error) == ("Back again.", False)

        garbage, _ = await _turn(agent, "[[garbage: times=1]] [[say: Readable again.]]")
        assert garbage.result == "Readable again."

        refused, _ = await _turn(
            agent, '[[headers: x-should-retry=false]] [[error: 429 billing_error message="Spent."]]'
        )
        assert (refused.is_error, refused.api_error_status) == (True, 429)

    records = scripted.records.records()
    assert [record.violation for record in records] == [""] * len(records)
    assert {(record.path, record.key) for record in records} == {("/v1/messages", "test")}
    assert [record.outcome for record in records].count("error") == 3
    assert {record.session for record in records} == {plain.session_id}
