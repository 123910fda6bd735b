"""The messages as a conversation: is their order legal, and what has the model been asked last? Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import NamedTuple

from devcluster.scripted.content import Block, Message

# Clients put notes of their own into user messages; nobody typed them.
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_ROLE_OF = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
    "image": "user",
    "document": "user",
}


class Turn(NamedTuple):
    """Neighbouring messages of one role, which the service reads as one; ``at`` is the first one's index."""

    at: int
    role: str
    blocks: list[Block]


@dataclass(frozen=True)
class Position:
    """Where a conversation stands: the latest prompt, its number (from 1; 0: none) and the tool results since."""

    prompt: str = ""
    number: int = 0
    results: tuple[str, ...] = ()

    def digest(self, session: str) -> str:
        """Return a name for this place in the session, the same whenever the request is repeated."""
        return sha256(f"{session}/{self.number}/{len(self.results)}/{self.prompt}".encode()).hexdigest()


def position(messages: Sequence[Message]) -> Position:
    """Find the latest text of a user. What was counted in a process would not survive its restart; this does."""
    found = Position()
    for block in (block for message in messages if message.role == "user" for block in message.content):
        if block.type == "tool_result":
            found = Position(found.prompt, found.number, (*found.results, block.plain_text()))
        elif block.type == "text" and (text := _REMINDER.sub("", block.plain_text()).strip()):
            found = Position(text, found.number + 1)
    return found


def problems(messages: Sequence[Message]) -> Iterator[str]:
    """Yield what the service would refuse: roles out of order, tool calls and results that do not pair up."""
    turns = _turns(messages)
    if not turns or turns[0].role != "user":
        yield "messages: the first message must have the role user"
    elif turns[-1].role != "user":
        yield "messages: the conversation must end with a user message"
    calls: set[str] = set()
    for turn in turns:
        for block in turn.blocks:
            if _ROLE_OF.get(block.type, turn.role) != turn.role:
                yield f"messages.{turn.at}.content: {block.type} blocks cannot be in {turn.role} messages"
        results = {block.tool_use_id or "" for block in turn.blocks if block.type == "tool_result"}
        for missing in sorted(calls - results):
            yield (
                f"messages.{turn.at}: the tool_use {missing} of the message before has no tool_result here; "
                "each tool_use must be answered in the next message"
            )
        for unknown in sorted(results - calls):
            yield f"messages.{turn.at}: the tool_result for {unknown} answers no tool_use of the message before"
        calls = {block.id or "" for block in turn.blocks if block.type == "tool_use"}


def _turns(messages: Sequence[Message]) -> list[Turn]:
    spoken = [(at, message) for at, message in enumerate(messages) if message.role != "system"]
    groups = ((role, list(group)) for role, group in groupby(spoken, key=lambda item: item[1].role))
    return [Turn(group[0][0], role, [b for _, m in group for b in m.content]) for role, group in groups]
