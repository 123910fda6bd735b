"""The agent process, through the SDK's client: prompts in, steps and answers out.

The only module with the SDK's client; importing it costs 0.1 s of CPU, so that happens beside the starting server.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    Message,
    ProcessError,
    ResultMessage,
    SystemMessage,
    TextBlock,
    ToolUseBlock,
)

from .memory import oom_kills
from .session import AgentDiedError, Answer, Step
from .text import one_line

MAX_STDERR_LINES = 3
MAX_STDERR_LINE = 300


class SdkAgent:
    """One conversation with one CLI process."""

    def __init__(self, options: ClaudeAgentOptions) -> None:
        self._stderr: deque[str] = deque(maxlen=MAX_STDERR_LINES)
        self._client = ClaudeSDKClient(replace(options, stderr=self._hear))
        self._formed = options.output_format is not None

    def _hear(self, line: str) -> None:
        self._stderr.append(one_line(line, MAX_STDERR_LINE))

    def _died(self, error: Exception | str) -> AgentDiedError:
        # A bare ProcessError only says that stderr has the reason; its subclass ResultError says it itself.
        what = f"exit code {error.exit_code}" if type(error) is ProcessError else error
        said = f"; it said: {' / '.join(self._stderr)}" if self._stderr else ""
        kills = oom_kills()
        killed = f"; processes of this container that were killed for want of memory: {kills}" if kills else ""
        return AgentDiedError(f"the agent process ended: {what}{killed}{said}")

    async def connect(self) -> None:
        """Start the process; no model request is made. Raises AgentDiedError."""
        try:
            await self._client.connect()
        except Exception as error:  # the SDK raises bare Exceptions too
            raise self._died(error) from error

    async def ask(self, uuid: str, text: str) -> None:
        """Send a prompt, which the answer names by `uuid`. Raises AgentDiedError."""

        async def prompts() -> AsyncIterator[dict[str, object]]:
            yield {
                "type": "user",
                "message": {"role": "user", "content": text},
                "parent_tool_use_id": None,
                "uuid": uuid,
            }

        try:
            await self._client.query(prompts())
        except Exception as error:
            raise self._died(error) from error

    async def steps(self) -> AsyncIterator[Step | Answer]:
        """All that happens, until AgentDiedError. Read it without pause: the SDK stalls on 100 unread messages."""
        try:
            async for message in self._client.receive_messages():
                for step in translate(message, formed=self._formed):
                    yield step
        except Exception as error:
            raise self._died(error) from error
        raise self._died("it closed its output")

    async def interrupt(self) -> None:
        """End the running turn; its answer follows. Raises AgentDiedError."""
        try:
            await self._client.interrupt()
        except Exception as error:
            raise self._died(error) from error

    async def close(self) -> None:
        """End the process: at once when idle, within 15 s (its input closed, SIGTERM, SIGKILL) in a turn."""
        await self._client.disconnect()


def translate(message: Message, *, formed: bool = False) -> Iterator[Step | Answer]:
    """What a message of the SDK means to a session; most mean nothing. formed: answers are to be of a given form."""
    match message:
        case AssistantMessage(parent_tool_use_id=None):
            for block in message.content:
                if isinstance(block, TextBlock):
                    yield Step("text", block.text)
                elif isinstance(block, ToolUseBlock):
                    yield Step("tool", f"{block.name} {json.dumps(block.input, ensure_ascii=False)}")
        case SystemMessage(subtype="api_retry"):
            why = message.data.get("error_status") or message.data.get("error")
            yield Step("notice", f"model request failed ({why}), trying again")
        case ResultMessage():
            yield answer(message, formed=formed)


def answer(result: ResultMessage, *, formed: bool = False) -> Answer:
    """A result, with the reason for failure. The CLI calls an API error a success: only is_error can be trusted.

    So it does if the model, reminded of the form that its answer is to have, goes on without it.
    """
    uuids = frozenset(result.user_message_uuids or filter(None, [result.user_message_uuid]))
    injected = result.origin is not None and result.origin["kind"] != "human"
    if result.is_error:
        return Answer(uuids, injected, text="", reason=_reason(result))
    if result.structured_output is not None:
        return Answer(uuids, injected, text=json.dumps(result.structured_output, ensure_ascii=False), reason="")
    if formed:
        return Answer(uuids, injected, text="", reason=f"no answer of the form of agent.outputFormat: {result.result}")
    return Answer(uuids, injected, text=result.result or "", reason="")


def _reason(result: ResultMessage) -> str:
    if (result.terminal_reason or "").startswith("aborted"):
        return "interrupted"
    return "; ".join(result.errors or []) or result.result or result.terminal_reason or result.subtype
