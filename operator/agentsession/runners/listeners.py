"""Follows every runner that serves a session by long polls; a new state brings the session into the queue."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from agentsession.runners.client import RunnerClient, RunnerError, Target
from agentsession_runner.protocol import State

Key = tuple[str, str]
LEAST_PAUSE, MOST_PAUSE = 0.05, 2.0
"""Seconds between two polls."""
BURST = 30
CHANGE_SECONDS = 1.0
"""A runner may cause BURST reconciles at once, and one every CHANGE_SECONDS in the long run: it may be hostile."""

logger = logging.getLogger(__name__)


@dataclass
class _Listener:
    target: Target
    task: asyncio.Task[None]
    state: State | None = None


class Listeners:
    """At most one listener per session key."""

    def __init__(self, client: RunnerClient, changed: Callable[[Key], None]) -> None:
        self._client = client
        self._changed = changed
        self._listeners: dict[Key, _Listener] = {}

    def listen(self, key: Key, target: Target) -> None:
        """Follow that runner for that session, and no other one any more."""
        current = self._listeners.get(key)
        if current is not None and current.target == target:
            return
        self.forget(key)
        task = asyncio.create_task(self._follow(key, target), name=f"listen {key[0]}/{key[1]}")
        self._listeners[key] = _Listener(target, task)

    def state(self, key: Key, pod_uid: str) -> State | None:
        """The latest word of that very pod's runner."""
        current = self._listeners.get(key)
        return current.state if current is not None and current.target.pod_uid == pod_uid else None

    def heard(self, key: Key, pod_uid: str, state: State) -> None:
        """Note an answer that came with a bind or a prompt, unless a later one is known."""
        current = self._listeners.get(key)
        if current is None or current.target.pod_uid != pod_uid:
            return
        if current.state is None or state.revision >= current.state.revision:
            current.state = state

    def forget(self, key: Key) -> None:
        """Stop following."""
        listener = self._listeners.pop(key, None)
        if listener is not None:
            listener.task.cancel()

    async def close(self) -> None:
        """Stop following all."""
        tasks = [listener.task for listener in self._listeners.values()]
        for key in list(self._listeners):
            self.forget(key)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, key: Key, target: Target) -> None:
        revision, pause = -1, LEAST_PAUSE
        clock = asyncio.get_running_loop().time
        spent_until = 0.0
        while True:
            try:
                state = await self._client.state(target, revision)
            except RunnerError as error:
                logger.debug("%s/%s: %s", *key, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, MOST_PAUSE)
                continue
            pause = LEAST_PAUSE
            if state.revision != revision:  # not what a bind or a prompt has heard meanwhile: nobody was told of that
                revision = state.revision
                self.heard(key, target.pod_uid, state)
                self._changed(key)
                spent_until = max(spent_until, clock()) + CHANGE_SECONDS
            await asyncio.sleep(max(LEAST_PAUSE, spent_until - clock() - BURST * CHANGE_SECONDS))
