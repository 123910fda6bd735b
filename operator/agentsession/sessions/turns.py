"""Turns: which prompt is next, and what status says of each. A turn's uuid is derived, so it is never asked twice."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agentsession.api.session import FIRST_TURN, AgentSession, Result, Turn
from agentsession_runner.protocol import State, TurnState

EXCERPT = 2048
"""Characters of an answer in status.turns; status.result has more of the last one."""


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
    return Turn(
        id=turn_id,
        uuid=said.uuid,
        state=said.phase,
        started=known.started if known is not None else now,
        finished=None if said.phase == "Running" else now,
        text=said.text[:EXCERPT],
        reason=said.reason,
    )


def _result(said: TurnState) -> Result:
    failed = said.phase == "Failed"
    return Result(text=said.text, truncated=said.truncated, is_error=failed, reason=said.reason)
