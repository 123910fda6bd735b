"""The calls that are under way: so that what has ended is cut off, and nobody has more than a few at once.

Every call is looked at again after each change that a watch brings and at least once a second.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from .call import Call
from .gate import Admitted
from .refusal import Refusal, unavailable

MAX_PER_SESSION = 8
RECHECK_SECONDS = 1.0
COALESCE_SECONDS = 0.05
"""Changes that come together are looked at together."""


class Calls:
    """All calls of this process. `recheck` says why somebody may no longer stay, or None."""

    def __init__(self, recheck: Callable[[Admitted], Refusal | None]) -> None:
        self._recheck = recheck
        self._open: set[Call] = set()
        self._by_session: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def full(self, admitted: Admitted) -> Refusal | None:
        """Why the session may not have one more call now."""
        if self._closed:
            return unavailable("this replica of the egress plane is ending: ask again")
        if self._by_session[admitted.served.session.metadata.uid] < MAX_PER_SESSION:
            return None
        message = f"{MAX_PER_SESSION} requests of this session are under way: wait for one to end"
        return Refusal(429, "rate_limit_error", message, retry_after=1)

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[None]:
        """Hold one of the session's places. Raises TimeoutError when the call is ended from outside."""
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

    def close(self) -> None:
        """Let no more begin."""
        self._closed = True

    def sessions(self) -> set[str]:
        """UIDs of the sessions that have calls under way."""
        return set(self._by_session)

    def wake(self) -> None:
        """Something changed: look at every call again."""
        self._changed.set()

    async def watch_over(self) -> None:
        """End what may no longer go on, for ever."""
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
