"""Turns: which prompt is next, and what status says of each. A turn's uuid is derived, so it is never asked twice."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from agentsession.api.session import FIRST_TURN, AgentSession, Result, Turn
from agentsession_runner.protocol import State, TurnState

EXCERPT = 2 * 1024
MOST = 16 * 1024
"""Bytes of an answer in status.turns, and of the last one in status.result."""


@dataclass(frozen=True)
class NextPrompt:
    """A turn to start now."""

    id: str
    uuid: str
    text: str


@dataclass(frozen=True)
class Progress:
    """All turns so far, the last answer, and what to ask next."""

    turns: list[Turn]
    result: Result | None
    next: NextPrompt | None

    @property
    def running(self) -> bool:
        return any(turn.state == "Running" for turn in self.turns)

    @property
    def answered(self) -> bool:
        """All that was asked is answered, well or not, and nothing is to be asked."""
        return bool(self.turns) and not self.running and self.next is None

    @property
    def failed(self) -> bool:
        return any(turn.state == "Failed" for turn in self.turns)


@lru_cache(4096)
def turn_uuid(session_uid: str, turn_id: str) -> str:
    """The id under which the agent gets a prompt; the same after any restart."""
    return str(uuid.uuid5(uuid.UUID(session_uid), turn_id))


def progress(session: AgentSession, prompt: str | None, state: State | None, now: datetime) -> Progress:
    """Join what status knows with what the runner says. `prompt` is the first turn's text, if it is still needed."""
    before = {turn.id: turn for turn in session.status.turns}
    reported: dict[str, TurnState] = {turn.uuid: turn for turn in state.turns} if state is not None else {}
    turns: list[Turn] = []
    result = session.status.result
    coming: NextPrompt | None = None
    asked = [(FIRST_TURN, prompt), *((item.id, item.prompt) for item in session.spec.follow_ups)]
    for turn_id, text in asked:
        id_ = turn_uuid(session.metadata.uid, turn_id)
        known, said = before.get(turn_id), reported.get(id_)
        if known is not None and known.state != "Running":
            turns.append(known)
        elif said is not None:
            turns.append(_turn(turn_id, said, known, now))
            if said.phase != "Running":
                result = _result(said)
        else:
            coming = coming or (NextPrompt(turn_id, id_, text) if text is not None else None)
            if known is not None:
                turns.append(known)
            break
    if coming is not None and _busy(turns, except_=coming.id):
        coming = None
    return Progress(turns, result, coming)


def _busy(turns: Sequence[Turn], *, except_: str) -> bool:
    return any(turn.state == "Running" and turn.id != except_ for turn in turns)


def started(progress: Progress, now: datetime) -> list[Turn]:
    """The turns once `progress.next` was delivered."""
    coming = progress.next
    if coming is None or any(turn.id == coming.id for turn in progress.turns):
        return progress.turns
    return [*progress.turns, Turn(id=coming.id, uuid=coming.uuid, state="Running", started=now)]


def _turn(turn_id: str, said: TurnState, known: Turn | None, now: datetime) -> Turn:
    begun = known.started if known is not None else now
    if said.phase == "Running":
        return Turn(id=turn_id, uuid=said.uuid, state="Running", started=begun)
    return Turn(
        id=turn_id,
        uuid=said.uuid,
        state=said.phase,
        started=begun,
        finished=now,
        text=_clip(said.text, EXCERPT),
        reason=said.reason,
    )


def _result(said: TurnState) -> Result:
    text = _clip(said.text, MOST)
    truncated = said.truncated or text != said.text
    return Result(text=text, truncated=truncated, is_error=said.phase == "Failed", reason=said.reason)


def _clip(text: str, most: int) -> str:
    """As many whole characters as fit into `most` bytes of UTF-8."""
    return text.encode()[:most].decode(errors="ignore")
