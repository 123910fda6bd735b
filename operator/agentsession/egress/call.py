"""One request under way, seen from the runner's side: its place, its answer so far, and how it can be ended."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict

from .gate import Admitted
from .refusal import Refusal

READ_ON_SECONDS = 10.0
"""After the client has gone, how long the answer is still read, for its final count."""
LAST_WRITE_SECONDS = 1.0
"""Time for a client to take the event that ends its stream; then the connection is dropped."""


@dataclass(eq=False)
class Call:
    """A request that was let in. `scope` is the time it has: unlimited, until somebody ends it."""

    admitted: Admitted
    request: web.Request
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    refusal: Refusal | None = None
    """Why it was cut off, if its session may no longer be served."""
    abandoned: bool = False
    """Whether the client has gone."""
    _response: web.StreamResponse | None = None

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

    async def stream(self, status: int, headers: CIMultiDict[str]) -> web.StreamResponse:
        """Begin an answer that is written in parts."""
        self._response = web.StreamResponse(status=status, headers=headers)
        await self._response.prepare(self.request)
        return self._response

    async def write(self, data: bytes) -> None:
        """One part, while the client is there; without it the answer is still read, for its count."""
        if not data or self.abandoned or self._response is None:
            return
        try:
            await self._response.write(data)
        except ConnectionResetError:
            self.abandon()

    async def refuse(self, refusal: Refusal) -> web.StreamResponse:
        """Answer with a refusal: whole, or as the last event of a stream that has begun."""
        if self._response is None:
            return refusal.response()
        with suppress(ConnectionResetError, TimeoutError):
            async with asyncio.timeout(LAST_WRITE_SECONDS):
                await self._response.write(refusal.event())
                await self._response.write_eof()
                return self._response
        if self.request.transport:
            self.request.transport.abort()
        return self._response
