"""Time that tests can turn, and who started which task.

Nothing here waits for a timer: `jump` makes those that would be due by then due at once. The API server's own time goes
on as always.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

OWNER: ContextVar[str] = ContextVar("OWNER", default="")
"""Whose process the running task belongs to; tasks inherit it from the one that starts them."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is the real one plus all jumps."""

    def __init__(self) -> None:
        self.jumped = 0.0
        self._owners: WeakKeyDictionary[asyncio.Task[Any], str] = WeakKeyDictionary()
        super().__init__()
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return super().time() + self.jumped

    def jump(self, seconds: float) -> None:
        """Let that much time have passed."""
        self.jumped += seconds

    def tasks_of(self, owner: str) -> list[asyncio.Task[Any]]:
        """The tasks of that process that have not ended."""
        return [task for task, name in self._owners.items() if name == owner and not task.done()]

    def end(self) -> None:
        """Cancel what is left, and close."""
        for task in asyncio.all_tasks(self):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                self.run_until_complete(task)
        self.run_until_complete(self.shutdown_default_executor())
        self.close()

    def _make_task(
        self,
        _: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=self, **options)  # type: ignore[arg-type]
        context = options.get("context")
        self._owners[task] = context.get(OWNER, "") if context is not None else OWNER.get()
        return task


class Clock:
    """The wall clock of everything simulated; `skew` is how far the operators' own is off, as after a step of NTP."""

    def __init__(self, loop: JumpingLoop) -> None:
        self.skew = timedelta(0)
        self._loop = loop

    def now(self) -> datetime:
        """Of the nodes and of the egress plane."""
        return datetime.now(UTC) + timedelta(seconds=self._loop.jumped)

    def operators_now(self) -> datetime:
        """Of the operators."""
        return self.now() + self.skew
