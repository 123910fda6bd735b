"""One session: prompts go to the agent one at a time, its answers into the journal, until it is drained.

A turn that was given to the agent is never given again: when the process dies in it, the turn has failed, and whether
to ask again is for the control side to decide, which knows what the model was asked.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from .errors import RefusedError
from .journal import MAX_REASON, Journal
from .protocol import MAX_TEXT, PromptRequest, TurnPhase, TurnState
from .text import clip, one_line

MAX_TURNS = 128
INTERRUPT_TIMEOUT = 5.0
CLOSE_TIMEOUT = 8.0
"""Seconds. A drain takes at most the two together, well inside the 20 s of a pod's grace period that are ours."""
INTERRUPT_AGAIN = 0.25

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """Something that the agent did in a turn."""

    kind: Literal["text", "tool", "notice"]
    text: str


@dataclass(frozen=True)
class Answer:
    """The end of a turn: of one of ours, or of one that the agent process started by itself."""

    uuids: frozenset[str]
    """The prompts that it answers; none for an injected turn, and for some that were interrupted."""
    injected: bool
    text: str
    reason: str
    """Why it failed; empty if it did not."""


class AgentDiedError(Exception):
    """The agent process could not start, or is gone. The text says why, and may hold what the process said."""


class Agent(Protocol):
    """The agent process; every method may raise AgentDiedError."""

    async def ask(self, uuid: str, text: str) -> None:
        """Give it a prompt."""

    def steps(self) -> AsyncIterator[Step | Answer]:
        """All that it does, until it dies."""

    async def interrupt(self) -> None:
        """End its turn; an answer follows."""

    async def close(self) -> None:
        """End it."""


class Session:
    """The turns of one conversation."""

    def __init__(self, journal: Journal, check_disk: Callable[[], None]) -> None:
        """`check_disk` raises OSError when the transcript could not be written: the agent process would not say so."""
        self.journal = journal
        self.end_requested = asyncio.Event()
        self._check_disk = check_disk
        self._agent: Agent | None = None
        self._prompts: asyncio.Queue[PromptRequest] = asyncio.Queue()
        self._current: str | None = None
        self._asked = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self, session_id: str, connect: Callable[[], Awaitable[Agent]]) -> None:
        """Connect, then answer prompts for as long as the agent lives. `session_id` names the transcript."""
        try:
            await asyncio.to_thread(self._check_disk)
            self._agent = await connect()
            self.journal.connected(session_id)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(self._agent))
                tasks.create_task(self._ask(self._agent))
        except* (AgentDiedError, OSError) as errors:
            reason = str(errors.exceptions[0])
            self._abandon(reason)
            if not self.end_requested.is_set():
                self.journal.phase("Failed", reason)

    def bind(self, session_uid: str) -> None:
        """Bind to the session, once. Raises RefusedError (409) for another one."""
        bound = self.journal.state.session_uid
        if bound is None:
            self.journal.bound(session_uid)
        elif bound != session_uid:
            raise RefusedError(409, "this runner is bound to another session; a runner serves one in its life")

    def prompt(self, request: PromptRequest) -> None:
        """Take a prompt, unless its uuid was taken before. Raises RefusedError (409)."""
        state = self.journal.state
        if state.session_uid is None:
            raise RefusedError(409, "this runner has no session yet: bind first")
        if any(turn.uuid == request.uuid for turn in state.turns):
            return
        if state.phase in ("Draining", "Failed"):
            raise RefusedError(409, f"this runner takes no more prompts: it is {state.phase}")
        if len(state.turns) == MAX_TURNS:
            raise RefusedError(409, f"this runner takes no more prompts: it has had {MAX_TURNS}")
        self.journal.turn(TurnState(uuid=request.uuid, phase="Running"))
        self._prompts.put_nowait(request)

    async def interrupt(self) -> None:
        """End the running turn, if there is one, and wait for its end. Raises RefusedError (504) if it goes on.

        The agent acknowledges an interrupt that comes just before it begins the turn, and then begins it all the same:
        so it is repeated.
        """
        running = next((turn.uuid for turn in self.journal.state.turns if turn.phase == "Running"), None)
        if running is None:
            return
        try:
            async with asyncio.timeout(INTERRUPT_TIMEOUT):
                await self._asked.wait()
                while self._agent is not None and self._current == running:
                    await self._agent.interrupt()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._over.wait(), INTERRUPT_AGAIN)
        except (TimeoutError, AgentDiedError) as error:
            raise RefusedError(504, f"the turn did not end within {INTERRUPT_TIMEOUT:.0f} s") from error

    def request_end(self) -> None:
        """Take no more prompts; whoever waits for `end_requested` then drains."""
        self.journal.phase("Draining", self.journal.state.message)
        self.end_requested.set()

    async def drain(self) -> None:
        """Interrupt, wait for the answer (by then the transcript is on disk), end the agent. Bounded in time."""
        if self._agent is not None:
            if self._current is not None:
                with suppress(RefusedError):
                    await self.interrupt()
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._agent.close()
        self._abandon("the session was ended before the answer")

    async def _read(self, agent: Agent) -> None:
        """Never waits for anything but the agent, so that its output is always drained."""
        async for step in agent.steps():
            if isinstance(step, Step):
                self.journal.event(step.kind, step.text, self._current)
            elif self._current is not None and self._is_ours(step):
                self._end_turn(self._current, step.text, step.reason)
            else:
                self.journal.event("notice", "a turn ended that no prompt had started", None)

    def _is_ours(self, answer: Answer) -> bool:
        nameless_failure = not answer.uuids and not answer.injected and answer.reason != ""
        return self._current in answer.uuids or nameless_failure

    async def _ask(self, agent: Agent) -> None:
        if not self.end_requested.is_set():
            self.journal.phase("Ready")
        while not self.end_requested.is_set():
            request = await self._prompts.get()
            if self.end_requested.is_set():
                return
            self._current = request.uuid
            self._over.clear()
            self._asked.clear()
            log.info("turn begins", extra={"turn": request.uuid})
            try:
                await asyncio.to_thread(self._check_disk)
            except OSError as error:
                self._end_turn(request.uuid, "", f"not asked, the transcript cannot be written: {error}")
                continue
            await agent.ask(request.uuid, request.text)
            self._asked.set()
            await self._over.wait()

    def _end_turn(self, uuid: str, text: str, reason: str) -> None:
        answer, truncated = clip(text, MAX_TEXT)
        unfinished: TurnPhase = "Interrupted" if self.end_requested.is_set() else "Failed"
        phase: TurnPhase = unfinished if reason else "Completed"
        self.journal.turn(
            TurnState(
                uuid=uuid,
                phase=phase,
                text=answer,
                truncated=truncated,
                reason=one_line(reason, MAX_REASON),
            )
        )
        self.journal.event("result", reason or text, uuid)
        log.info("turn ended", extra={"turn": uuid, "phase": phase})
        self._current = None
        self._asked.clear()
        self._over.set()

    def _abandon(self, reason: str) -> None:
        for turn in self.journal.state.turns:
            if turn.phase == "Running" and turn.uuid != self._current and self.end_requested.is_set():
                self.journal.withdraw(turn.uuid)
            elif turn.phase == "Running":
                self._end_turn(turn.uuid, "", reason)
