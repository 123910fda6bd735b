"""Follows every runner that serves a session by long polls; a new state brings the session into the queue."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from agentsession.runners.client import WAIT_SECONDS, RunnerClient, RunnerError, Target
from agentsession_runner.protocol import State

Key = tuple[str, str]
LEAST_PAUSE = 0.05
"""Seconds between two polls."""
FIRST_RETRY, MOST_PAUSE = 0.25, 2.0
"""The same after one that fails or comes back early with nothing new; doubled by each. A runner that has just started
does not listen yet, and a second more until its agent is connected."""
BURST = 30
CHANGE_SECONDS = 1.0
"""A runner may cause BURST reconciles at once, and one every CHANGE_SECONDS in the long run: it may be hostile."""

logger = logging.getLogger(__name__)


@dataclass
class _Listener:
    target: Target
    task: asyncio.Task[None] | None = None
    state: State | None = None
    refusals: int = 0

    def hear(self, state: State) -> bool:
        """Note what it says of itself, if that is news."""
        news = self.state is None or state.revision > self.state.revision
        if news:
            self.state = state
        return news


class Listeners:
    """At most one listener per session key."""

    def __init__(self, client: RunnerClient, changed: Callable[[Key], None]) -> None:
        self._client = client
        self._changed = changed
        self._listeners: dict[Key, _Listener] = {}

    def listen(self, key: Key, target: Target) -> None:
        """Follow that runner for that session, from its last word on, and no other one any more."""
        current = self._to(key, target)
        if current.task is None:
            revision = current.state.revision if current.state is not None else -1
            name = f"listen {key[0]}/{key[1]}"
            current.task = asyncio.create_task(self._follow(key, target, revision), name=name)

    def state(self, key: Key, pod_uid: str) -> State | None:
        """The latest word of that very pod's runner."""
        current = self._of(key, pod_uid)
        return current.state if current is not None else None

    def refusals(self, key: Key, pod_uid: str) -> int:
        """How often that pod's runner has refused to be bound or prompted since it last accepted."""
        current = self._of(key, pod_uid)
        return current.refusals if current is not None else 0

    def hear(self, key: Key, target: Target, state: State) -> State:
        """Note an answer that its caller looks at, so that nobody else is told. Returns the runner's last word."""
        current = self._to(key, target)
        current.hear(state)
        return current.state or state

    def heard(self, key: Key, target: Target, state: State) -> None:
        """Note an answer that its caller does not look at: if it is news, it brings the session into the queue."""
        if self._to(key, target).hear(state):
            self._changed(key)

    def accepted(self, key: Key, target: Target) -> None:
        """Note that a bind or a prompt was accepted."""
        self._to(key, target).refusals = 0

    def refused(self, key: Key, target: Target) -> None:
        """Note that a bind or a prompt was refused."""
        self._to(key, target).refusals += 1

    def _to(self, key: Key, target: Target) -> _Listener:
        current = self._listeners.get(key)
        if current is None or current.target != target:
            self.forget(key)
            current = self._listeners[key] = _Listener(target)
        return current

    def _of(self, key: Key, pod_uid: str) -> _Listener | None:
        current = self._listeners.get(key)
        return current if current is not None and current.target.pod_uid == pod_uid else None

    def forget(self, key: Key) -> None:
        """Stop following."""
        listener = self._listeners.pop(key, None)
        if listener is not None and listener.task is not None:
            listener.task.cancel()

    async def close(self) -> None:
        """Stop following all."""
        tasks = [listener.task for listener in self._listeners.values() if listener.task is not None]
        for key in list(self._listeners):
            self.forget(key)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, key: Key, target: Target, revision: int) -> None:
        pause = FIRST_RETRY
        clock = asyncio.get_running_loop().time
        spent_until = 0.0
        while True:
            state = await self._poll(key, target, revision)
            if state is None:
                await asyncio.sleep(pause)
                pause = min(pause * 2, MOST_PAUSE)
                continue
            pause = FIRST_RETRY
            if state.revision != revision:
                revision = state.revision
                if (current := self._of(key, target.pod_uid)) is not None and current.hear(state):
                    self._changed(key)
                spent_until = max(spent_until, clock()) + CHANGE_SECONDS
            await asyncio.sleep(max(LEAST_PAUSE, spent_until - clock() - BURST * CHANGE_SECONDS))

    async def _poll(self, key: Key, target: Target, revision: int) -> State | None:
        """What it says next; None if it did not answer, or had nothing to tell and did not wait."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        try:
            state = await self._client.state(target, revision)
        except RunnerError as error:
            logger.debug("%s/%s: %s", *key, error)
            return None
        return None if state.revision == revision and clock() - asked < WAIT_SECONDS / 2 else state
