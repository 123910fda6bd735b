"""Turns: which prompt is next, and what status says of each. A turn's uuid is derived, so it is never asked twice."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from agentsession.api.session import FIRST_TURN, AgentSession, Result, Turn
from agentsession_runner.protocol import State, TurnState

EXCERPT = 2 * 1024
MOST = 16 * 1024
"""Bytes of an answer in status.turns, and of the last one in status.result."""
ENDED = ("Completed", "Failed")
GO_ON = "You were suspended in the middle of your last task and are running again. Go on from where you stopped."
"""What an interrupted turn is asked when its conversation was taken up again."""


@dataclass(frozen=True)
class NextPrompt:
    """A turn to start now, or to go on with."""

    id: str
    uuid: str
    text: str


@dataclass(frozen=True)
class Progress:
    """All turns so far in the order in which they were asked, the last answer, and what to ask next."""

    turns: list[Turn]
    result: Result | None
    next: NextPrompt | None

    @property
    def running(self) -> bool:
        return any(turn.state == "Running" for turn in self.turns)

    @property
    def open(self) -> bool:
        """Something that was asked is not answered: it runs, or was interrupted."""
        return any(turn.state not in ENDED for turn in self.turns)

    @property
    def answered(self) -> bool:
        """All that was asked is answered, well or not, and nothing is to be asked."""
        return bool(self.turns) and not self.open and self.next is None

    @property
    def failed(self) -> bool:
        return any(turn.state == "Failed" for turn in self.turns)


def turn_uuid(session_uid: str, turn_id: str) -> str:
    """The id under which the agent gets a prompt; the same after any restart."""
    return str(uuid.uuid5(uuid.UUID(session_uid), turn_id))


def continued_uuid(interrupted: str) -> str:
    """The id under which a turn is gone on with; `interrupted` is the one that it had before."""
    return str(uuid.uuid5(uuid.UUID(interrupted), "resume"))


def progress(session: AgentSession, prompt: str | None, state: State | None, now: datetime) -> Progress:
    """Join what status knows with what the runner says. `prompt` is the first turn's text, if it is still needed.

    What status knows of stays: a follow-up may be put before others that were asked long ago.
    """
    texts = {FIRST_TURN: prompt, **{item.id: item.prompt for item in session.spec.follow_ups}}
    reported: dict[str, TurnState] = {turn.uuid: turn for turn in state.turns} if state is not None else {}
    turns: list[Turn] = []
    result = session.status.result
    coming: NextPrompt | None = None
    for turn in [*session.status.turns, *_not_yet_known(session, texts, reported, now)]:
        said = reported.get(turn.uuid) if turn.state == "Running" else None
        if said is not None and said.phase in ENDED:
            turns.append(_ended(turn, said, now))
            result = _result(said)
            continue
        turns.append(turn)
        if said is None and turn.state not in ENDED:
            coming = coming or _again(session, turn, texts.get(turn.id))
    missing = next((id_ for id_ in texts if all(turn.id != id_ for turn in turns)), None)
    if missing is not None and all(turn.state in ENDED for turn in turns):
        coming = _prompt(missing, turn_uuid(session.metadata.uid, missing), texts[missing])
    return Progress(turns, result, coming)


def _not_yet_known(
    session: AgentSession, texts: Mapping[str, str | None], reported: Mapping[str, TurnState], now: datetime
) -> Iterator[Turn]:
    """What the runner says it was asked, as far as it comes next."""
    known = {turn.id for turn in session.status.turns}
    for turn_id in (id_ for id_ in texts if id_ not in known):
        id_ = turn_uuid(session.metadata.uid, turn_id)
        if id_ not in reported:
            return
        yield Turn(id=turn_id, uuid=id_, state="Running", started=now)


def _again(session: AgentSession, turn: Turn, text: str | None) -> NextPrompt | None:
    """The prompt of a turn that was interrupted, or whose delivery is unknown."""
    if turn.state == "Interrupted":
        return NextPrompt(turn.id, continued_uuid(turn.uuid), GO_ON)
    return _prompt(turn.id, turn.uuid, GO_ON if was_continued(session, turn) else text)


def was_continued(session: AgentSession, turn: Turn) -> bool:
    """Whether the turn's latest prompt is one to go on, after an interruption."""
    return turn.uuid != turn_uuid(session.metadata.uid, turn.id)


def _prompt(turn_id: str, id_: str, text: str | None) -> NextPrompt | None:
    return NextPrompt(turn_id, id_, text) if text is not None else None


def started(progress: Progress, now: datetime) -> list[Turn]:
    """The turns once `progress.next` was delivered."""
    coming = progress.next
    if coming is None or any(turn.uuid == coming.uuid for turn in progress.turns):
        return progress.turns
    turns = {turn.id: turn for turn in progress.turns}
    turns[coming.id] = Turn(id=coming.id, uuid=coming.uuid, state="Running", started=now)
    return list(turns.values())


def _ended(turn: Turn, said: TurnState, now: datetime) -> Turn:
    ended = {"state": said.phase, "finished": now, "text": _clip(said.text, EXCERPT), "reason": said.reason}
    return turn.model_copy(update=ended)


def _result(said: TurnState) -> Result:
    text = _clip(said.text, MOST)
    truncated = said.truncated or text != said.text
    return Result(text=text, truncated=truncated, is_error=said.phase == "Failed", reason=said.reason)


def _clip(text: str, most: int) -> str:
    """As many whole characters as fit into `most` bytes of UTF-8."""
    return text.encode()[:most].decode(errors="ignore")
