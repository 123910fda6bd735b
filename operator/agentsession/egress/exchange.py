"""One forwarded request and its answer: where the answer has got to, and what it used."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from . import metrics
from .calls import Call
from .headers import downstream_headers
from .refusal import Refusal
from .screen import Screened
from .sse import SseParser
from .usage import UsageReader

LAST_WRITE_SECONDS = 1.0
"""Time for a client to take the event that ends its stream; then the connection is dropped."""


class UpstreamError(Exception):
    """An answer that is not passed on. The text is for the user."""


@dataclass
class Exchange:
    """`spent` is the time in seconds that the plane itself took before it asked the provider."""

    call: Call
    screened: Screened
    reader: UsageReader
    spent: float
    status: int | None = None
    """The provider's; None until it has answered."""
    broken_off: bool = False
    """Whether the plane stopped reading before the end."""
    _response: web.StreamResponse | None = field(default=None, init=False)

    async def relay(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass the provider's answer on. Raises UpstreamError, aiohttp.ClientError, sse.SseError."""
        self.status = upstream.status
        if 300 <= upstream.status < 400:
            raise UpstreamError("it answered with a redirect, and redirects are not followed")
        if upstream.headers.get("content-encoding", "identity") != "identity":
            raise UpstreamError("it compressed its answer although it was asked not to")
        headers = downstream_headers(upstream.headers)
        if upstream.content_type == "text/event-stream":
            response = web.StreamResponse(status=upstream.status, headers=headers)
            with _open_stream():
                return await self._stream(upstream, response)
        raw = await upstream.read()
        if upstream.status == 200:
            self.reader.body(raw)
        return web.Response(status=upstream.status, body=raw, headers=headers)

    async def _stream(self, upstream: aiohttp.ClientResponse, response: web.StreamResponse) -> web.StreamResponse:
        self._response = response
        await response.prepare(self.call.request)
        parser = SseParser()
        first = True
        async for chunk in upstream.content.iter_any():
            arrived = time.perf_counter()
            events = parser.feed(chunk)
            for event in events:
                self.reader.event(event.data)
            await self._write(b"".join(event.raw for event in events))
            if events and first:
                first = False
                metrics.FIRST_BYTE_ADDED.observe(self.spent + time.perf_counter() - arrived)
            metrics.EVENTS.inc(len(events))
        await self._write(parser.rest)
        return response

    async def _write(self, data: bytes) -> None:
        """To the client while it is there; without it the answer is still read, for its count."""
        if not data or self.call.abandoned or self._response is None:
            return
        try:
            await self._response.write(data)
        except ConnectionResetError:
            self.call.abandon()

    async def end(self, refusal: Refusal) -> web.StreamResponse:
        """Answer with a refusal: whole, or as the last event of a stream that has begun."""
        if self._response is None:
            return refusal.response()
        with suppress(ConnectionResetError, TimeoutError):
            async with asyncio.timeout(LAST_WRITE_SECONDS):
                await self._response.write(refusal.event())
                await self._response.write_eof()
                return self._response
        if transport := self.call.request.transport:
            transport.abort()
        return self._response


@contextmanager
def _open_stream() -> Iterator[None]:
    metrics.OPEN_STREAMS.inc()
    try:
        yield
    finally:
        metrics.OPEN_STREAMS.dec()
