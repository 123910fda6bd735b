"""Follows every runner that serves a session by long polls; a new state brings the session into the queue."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from agentsession.runners.client import RunnerClient, RunnerError, Target
from agentsession_runner.protocol import State

Key = tuple[str, str]
LEAST_PAUSE, MOST_PAUSE = 0.05, 2.0
"""Seconds between two polls: a hostile runner that answers at once does not make the operator spin."""


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
        pause = LEAST_PAUSE
        while True:
            known = self._listeners[key].state if key in self._listeners else None
            try:
                state = await self._client.state(target, known.revision if known is not None else -1)
            except RunnerError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, MOST_PAUSE)
                continue
            pause = LEAST_PAUSE
            self.heard(key, target.pod_uid, state)
            if known is None or state.revision != known.revision:
                self._changed(key)
            await asyncio.sleep(LEAST_PAUSE)
