"""The calls that are under way: so that what has ended is cut off, and nobody has more than a few at once.

Every call is looked at again after each change that a watch brings and at least once a second.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from .gate import Admitted
from .refusal import Refusal

MAX_PER_SESSION = 8
READ_ON_SECONDS = 10.0
"""After the client has gone, how long the answer is still read, for its final count."""
RECHECK_SECONDS = 1.0
COALESCE_SECONDS = 0.05
"""Changes that come together are looked at together."""


@dataclass(eq=False)
class Call:
    """One request under way. `scope` ends when it is cut off."""

    admitted: Admitted
    request: web.Request
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    refusal: Refusal | None = None
    """Why it was cut off, if its session may no longer be served."""
    abandoned: bool = False
    """Whether the client has gone."""

    def cut(self, refusal: Refusal) -> None:
        """End it now."""
        self.refusal = self.refusal or refusal
        self._end_in(0)

    def abandon(self) -> None:
        """The client has gone: end it in READ_ON_SECONDS."""
        if not self.abandoned:
            self.abandoned = True
            self._end_in(READ_ON_SECONDS)

    def _end_in(self, seconds: float) -> None:
        if not self.scope.expired():
            self.scope.reschedule(asyncio.get_running_loop().time() + seconds)


class Calls:
    """All calls of this process. `recheck` says why a call may not go on, or None."""

    def __init__(self, recheck: Callable[[Admitted], Refusal | None]) -> None:
        self._recheck = recheck
        self._open: set[Call] = set()
        self._by_session: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def full(self, admitted: Admitted) -> Refusal | None:
        """Why the session may not have one more call now."""
        if self._by_session[admitted.served.session.metadata.uid] < MAX_PER_SESSION:
            return None
        message = f"{MAX_PER_SESSION} requests of this session are under way: wait for one to end"
        return Refusal(429, "rate_limit_error", message, retry_after=1)

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[None]:
        """Hold one of the session's places. Raises TimeoutError when the call is cut off."""
        uid = call.admitted.served.session.metadata.uid
        self._open.add(call)
        self._by_session[uid] += 1
        try:
            async with call.scope:
                yield
        finally:
            self._open.discard(call)
            self._by_session[uid] -= 1
            if not self._by_session[uid]:
                del self._by_session[uid]

    def sessions(self) -> set[str]:
        """UIDs of the sessions that have calls under way."""
        return set(self._by_session)

    def wake(self) -> None:
        """Something changed: look at every call again."""
        self._changed.set()

    async def watch_over(self) -> None:
        """Cut off what has ended, for ever."""
        while True:
            for call in list(self._open):
                if refusal := self._recheck(call.admitted):
                    call.cut(refusal)
                elif call.request.transport is None:
                    call.abandon()
            await asyncio.sleep(COALESCE_SECONDS)
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue
            finally:
                self._changed.clear()
