"""An event loop whose clock jumps: hours of waiting pass in no time, and always the same way."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

LIMIT = 20_000.0
"""Fake seconds after which a test has failed."""


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """Where a real loop would sleep until its next timer, this one sets its clock to it."""

    def __init__(self) -> None:
        self._now = 0.0
        self.errors: list[BaseException] = []
        super().__init__(_Jump(self._advance))

    def time(self) -> float:
        return self._now

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What a timer raises is an error of the test, not a line in a log."""
        self.errors.append(context.get("exception") or RuntimeError(context["message"]))

    def _advance(self, seconds: float) -> None:
        self._now += seconds


class _Jump(selectors.SelectSelector):
    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("the test waits for something that never happens")
            self._advance(timeout)
        return ready


def in_fake_time(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Run an async test in a loop of its own, in fake time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
            runner.run(asyncio.wait_for(test(*args, **kwargs), LIMIT))
            loop = runner.get_loop()
            assert isinstance(loop, FakeTimeLoop)
            assert not loop.errors

    return run


def now() -> float:
    """The fake time in seconds; a test starts at 0."""
    return asyncio.get_running_loop().time()
