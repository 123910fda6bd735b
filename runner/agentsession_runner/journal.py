"""What has happened in a session, and who waits for the next thing: the state by revision, the events by id."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Literal

from .protocol import Event, RunnerPhase, State, TurnState
from .text import clip, one_line

MAX_EVENTS = 512
"""Events kept for late readers; who comes later than that sees a gap in the ids."""
MAX_EVENT_TEXT = 4096
MAX_REASON = 512

EventKind = Literal["text", "tool", "result", "notice"]


class Journal:
    """The one place that a session's state is written to."""

    def __init__(self) -> None:
        self.state = State(revision=0, phase="Starting")
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._last_event = 0
        self._closed = False
        self._changed = asyncio.Event()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _update(self, **changes: object) -> None:
        self.state = self.state.model_copy(update={**changes, "revision": self.state.revision + 1})
        self._notify()

    def phase(self, phase: RunnerPhase, message: str = "") -> None:
        """Enter a phase."""
        self._update(phase=phase, message=one_line(message, MAX_REASON))

    def bound(self, session_uid: str) -> None:
        """The session is known."""
        self._update(session_uid=session_uid)

    def connected(self, session_id: str) -> None:
        """The conversation is open under that id."""
        self._update(session_id=session_id)

    def turn(self, turn: TurnState) -> None:
        """Add a turn, or replace the one with its uuid. With a new one, the earlier answers have been read."""
        turns = {known.uuid: known for known in self.state.turns}
        if turn.uuid not in turns:
            turns = {uuid: known.model_copy(update={"text": "", "reason": ""}) for uuid, known in turns.items()}
        self._update(turns=list((turns | {turn.uuid: turn}).values()))

    def withdraw(self, uuid: str) -> None:
        """Forget a turn that the agent was never asked."""
        self._update(turns=[turn for turn in self.state.turns if turn.uuid != uuid])

    def event(self, kind: EventKind, text: str, turn: str | None) -> None:
        """Tell who watches. The text is cut at MAX_EVENT_TEXT."""
        self._last_event += 1
        self._events.append(Event(id=self._last_event, turn=turn, kind=kind, text=clip(text, MAX_EVENT_TEXT)[0]))
        self._notify()

    def close(self) -> None:
        """Nothing more will happen: every reader of events comes to its end."""
        self._closed = True
        self._notify()

    async def state_after(self, revision: int, seconds: float | None = None) -> State:
        """The state once it is newer than `revision`, or after `seconds`; None waits for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.state.revision <= revision and not self._closed:
                    await self._changed.wait()
        return self.state

    async def events_after(self, last: int) -> AsyncIterator[Event]:
        """Every event with a higher id, those to come included, until the journal is closed."""
        while True:
            changed = self._changed
            for event in [event for event in self._events if event.id > last]:
                yield event
                last = event.id
            if changed is not self._changed:
                continue
            if self._closed:
                return
            await changed.wait()
