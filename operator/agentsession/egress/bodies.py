"""Bodies of requests, received within bounds: of time, of size, and of what all of them hold in memory at once."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from agentsession.api.session import AgentSession

from . import metrics
from .refusal import Refusal, unavailable
from .screen import MAX_BODY_BYTES

MIB = 1024 * 1024
SESSION_BYTES = 32 * MIB
TENANT_BYTES = 48 * MIB
TOTAL_BYTES = 96 * MIB
"""What may be held at once, until the provider has it. The total fits the memory limit of the chart."""
RECEIVE_SECONDS = 30.0
MAX_STRUCTURE = 500_000
"""Values in a body, about. A conversation of a million tokens of nothing but JSON has so many; what parses slowest has
them in a hundredth of the bytes that a request may have."""


@dataclass
class Buffers:
    """Counts the bytes that are held."""

    _held: Counter[str] = field(default_factory=Counter)

    def hold(self, session: AgentSession, size: int) -> Refusal | None:
        """Count `size` more bytes for the session, or say why not."""
        if any(self._held[share] + size > limit for share, limit in _shares(session)):
            return unavailable("too many large requests are under way at once: this one may be sent again in a moment")
        for share, _ in _shares(session):
            self._held[share] += size
        metrics.HELD.inc(size)
        return None

    def release(self, session: AgentSession, size: int) -> None:
        """They are held no more."""
        metrics.HELD.dec(size)
        for share, _ in _shares(session):
            self._held[share] -= size
            if not self._held[share]:
                del self._held[share]

    def __len__(self) -> int:
        return self._held[""]


def _shares(session: AgentSession) -> Iterator[tuple[str, int]]:
    yield session.metadata.uid, SESSION_BYTES
    yield session.metadata.namespace, TENANT_BYTES
    yield "", TOTAL_BYTES


@dataclass(eq=False)
class Body:
    """One body, as far as it has arrived."""

    buffers: Buffers
    session: AgentSession
    data: bytearray = field(default_factory=bytearray)
    structure: int = 0
    """At least the number of JSON values in it."""

    async def receive(self, request: web.Request) -> Refusal | None:
        """Take it all in, or say why not."""
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return _too_large()
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                async for chunk in request.content.iter_any():
                    if refusal := self._add(chunk):
                        return refusal
        except TimeoutError:
            return Refusal(408, "invalid_request_error", f"the body took more than {RECEIVE_SECONDS:.0f} s")
        except (aiohttp.ClientError, web.RequestPayloadError, ConnectionError):
            return Refusal(400, "invalid_request_error", "the body broke off")
        return None

    def _add(self, chunk: bytes) -> Refusal | None:
        if len(self.data) + len(chunk) > MAX_BODY_BYTES:
            return _too_large()
        if refusal := self.buffers.hold(self.session, len(chunk)):
            return refusal
        self.data += chunk
        self.structure += sum(map(chunk.count, (b",", b"[", b"{")))
        if self.structure > MAX_STRUCTURE:
            return Refusal(413, "request_too_large", f"the body has more than {MAX_STRUCTURE} JSON values")
        return None

    def release(self) -> None:
        """Forget the bytes; whoever still sends them keeps them."""
        self.buffers.release(self.session, len(self.data))
        self.data = bytearray()


def _too_large() -> Refusal:
    return Refusal(413, "request_too_large", f"the body has more than {MAX_BODY_BYTES} bytes")
