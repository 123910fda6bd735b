"""One forwarded request and the provider's answer to it, passed on as it comes and read for its usage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from . import metrics
from .call import Call
from .headers import downstream_headers
from .screen import Screened
from .sse import SseParser
from .usage import UsageReader


class UpstreamError(Exception):
    """An answer that is not passed on. The text is for the user."""


@dataclass
class Exchange:
    """`spent` is the time in seconds that the plane itself took before it asked the provider."""

    call: Call
    screened: Screened
    usage: UsageReader
    spent: float
    status: int | None = None
    """The provider's; None until it has answered."""
    broken_off: bool = False
    """Whether the plane stopped reading before the end."""
    failed: bool = False
    """Whether the provider gave no answer, or none that could be passed on to its end."""
    _asked: float = field(default_factory=time.perf_counter)

    def outcome(self) -> metrics.Outcome:
        """What became of it."""
        if self.call.refusal:
            return "cut"
        if self.call.abandoned:
            return "abandoned"
        if self.failed:
            return "failed"
        return "ok" if self.status == 200 else "provider_error"

    async def relay(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass the provider's answer on. Raises UpstreamError, aiohttp.ClientError, sse.SseError."""
        self.status = upstream.status
        if 300 <= upstream.status < 400:
            raise UpstreamError("it answered with a redirect, and redirects are not followed")
        if upstream.headers.get("content-encoding", "identity") != "identity":
            raise UpstreamError("it compressed its answer although it was asked not to")
        if upstream.content_type == "text/event-stream":
            with _open_stream():
                return await self._stream(upstream)
        raw = await upstream.read()
        metrics.FIRST_BYTE.observe(self.spent + time.perf_counter() - self._asked)
        if upstream.status == 200:
            self.usage.body(raw)
        return web.Response(status=upstream.status, body=raw, headers=downstream_headers(upstream.headers))

    async def _stream(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        response = await self.call.stream(upstream.status, downstream_headers(upstream.headers))
        parser = SseParser()
        first = True
        async for chunk in upstream.content.iter_any():
            arrived = time.perf_counter()
            events = parser.feed(chunk)
            for event in events:
                self.usage.event(event.data)
            await self.call.write(b"".join(event.raw for event in events))
            if events and first:
                first = False
                metrics.FIRST_BYTE_ADDED.observe(self.spent + time.perf_counter() - arrived)
                metrics.FIRST_BYTE.observe(self.spent + time.perf_counter() - self._asked)
            metrics.EVENTS.inc(len(events))
        await self.call.write(parser.rest)
        return response


@contextmanager
def _open_stream() -> Iterator[None]:
    metrics.OPEN_STREAMS.inc()
    try:
        yield
    finally:
        metrics.OPEN_STREAMS.dec()
