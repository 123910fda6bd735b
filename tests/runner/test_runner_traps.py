"""What the agent process does that nobody would expect: first without the control that stops it, then in a runner."""

import asyncio
import random
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ClaudeSDKError

from agentsession_runner.layout import Layout
from agentsession_runner.options import sdk_options
from devcluster.scripted.server import Scripted
from tests.runner.harness import PATIENCE, Egress, bodies, options, result, serving, unprotected
from tests.runner.traps import TRAPS

pytestmark = pytest.mark.unit

SESSION_ID = "5a3f1b52-6a3e-4a55-8c54-7d3c7ab00003"
WAIT = "until [ -e answered ]; do sleep 0.1; done; echo done"
LATE = f'[[tool: Bash {{"command": "{WAIT}", "run_in_background": true}}]] [[say: Good night.]]'


def test_every_trap_has_a_test() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert set(re.findall(r'@pytest\.mark\.trap\("([a-z-]+)"\)', sources)) == TRAPS.keys()


def without(options: ClaudeAgentOptions, *switches: str) -> Mapping[str, Any]:
    return {"env": {name: value for name, value in options.env.items() if name not in switches}}


def picture(path: Path, side: int = 900) -> None:
    """A PNG that does not compress: noise, more than 2 MB of it."""
    noise = random.Random(0)  # noqa: S311
    rows = b"".join(b"\0" + noise.randbytes(3 * side) for _ in range(side))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))


@pytest.mark.trap("long-line")
async def test_a_large_picture_ends_no_session(egress: Egress, layout: Layout) -> None:
    picture(layout.work / "large.png")
    look = f'[[tool: Read {{"file_path": "{layout.work}/large.png"}}]] [[say: I see.]]'
    safe = sdk_options(options(), layout, egress.url, SESSION_ID)
    with pytest.raises(ClaudeSDKError, match="buffer size"):
        await unprotected(replace(safe, max_buffer_size=None), look)
    async with serving(egress, layout, options()) as runner:
        assert (await runner.ask(look)).text == "I see."


@pytest.mark.trap("idle-is-not-idle")
async def test_nothing_is_asked_after_the_answer(egress: Egress, model: Scripted, layout: Layout) -> None:
    safe = sdk_options(options(), layout, egress.url, SESSION_ID)
    loose = without(safe, "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS")
    async with asyncio.timeout(PATIENCE), ClaudeSDKClient(replace(safe, **loose)) as client:
        await client.query(LATE)
        own = await result(client)
        (layout.work / "answered").touch()
        woken = await result(client)
    assert own.result == "Good night."
    assert woken.origin is not None
    assert woken.origin["kind"] == "task-notification"
    asked = len(bodies(model))
    assert asked == 3, "the CLI did not ask by itself"
    async with serving(egress, layout, options()) as runner:
        calls = (
            ("CronCreate", '{"cron": "* * * * *", "prompt": "More."}'),
            (
                "ScheduleWakeup",
                '{"delaySeconds": 60, "prompt": "More.", "reason": "Because."}',
            ),
        )
        refused = " ".join(f"[[tool: {name} {argument}]]" for name, argument in calls)
        assert (await runner.ask(f"{refused} {LATE}")).text == "Good night."
        told = str(bodies(model)[-1]["messages"])
        assert len(re.findall(r"No such tool available", told)) == len(calls)
        assert "done" in told, "the command did not run in the foreground"
        assert (await runner.ask("[[say: Good morning.]]")).text == "Good morning."
    assert len(bodies(model)) == asked + 4 + 1


@pytest.mark.trap("unread-stream")
async def test_a_turn_of_many_messages_that_nobody_watches_can_be_interrupted(egress: Egress, layout: Layout) -> None:
    step = '{"command": "true"}'
    many = f"[[tool: Bash {step}]]" + f"[[also: Bash {step}]]" * 79
    async with serving(egress, layout, options()) as runner:
        prompt = await runner.prompt(f"{many} [[hang: after=0]]")
        await runner.events_until(lambda event: event.kind == "tool" and event.id >= 80)
        await runner.call("interrupt")
        assert (await runner.answered(prompt)).reason == "interrupted"


@pytest.mark.trap("mention")
async def test_a_mention_of_a_file_is_only_text(egress: Egress, model: Scripted, layout: Layout) -> None:
    """Of the identity's too. The agent itself may read it: what it is worth elsewhere, tests/node/test_identity.py."""
    identity = layout.identity_token.read_text()
    mention = f"@{layout.identity_token} [[say: Well.]]"
    safe = sdk_options(options(), layout, egress.url, SESSION_ID)
    loose = without(safe, "CLAUDE_CODE_DISABLE_ATTACHMENTS")
    await unprotected(replace(safe, verbatim_prompts=False, **loose), mention)
    assert identity in str(bodies(model)[-1]["messages"])
    async with serving(egress, layout, options()) as runner:
        assert (await runner.ask(mention)).text == "Well."
        told = bodies(model)[-1]["messages"]
        assert identity not in str(told)
        assert mention in str(told)
        await runner.ask(f'[[tool: Bash {{"command": "cat {layout.identity_token}"}}]]')
        assert identity in str(bodies(model)[-1]["messages"])


@pytest.mark.trap("no-credential")
async def test_without_an_identity_the_turn_says_so(egress: Egress, model: Scripted, layout: Layout) -> None:
    layout.identity_token.write_text("")
    async with serving(egress, layout, options()) as runner:
        turn = await runner.ask("[[say: Hello.]]")
    assert turn.phase == "Failed"
    assert "apiKeyHelper script is failing" in turn.reason
    assert not [record for record in model.records.records() if record.status == 200]
