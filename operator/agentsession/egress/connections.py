"""How many connections there may be: an agent opens as many as it likes, and each costs memory and a descriptor.

Whoever is slow costs only its own share: a connection on which no request arrives whole within IDLE_SECONDS is closed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web

from . import metrics
from .directory import normal_address

IDLE_SECONDS = 30.0
"""How long a connection may wait for a request, or for the rest of one's head."""
MAX_PER_ADDRESS = 24
"""Three for each request that a session may have under way."""
MAX = 4096


@dataclass
class Connections:
    """The open connections of one port."""

    per_address: int = MAX_PER_ADDRESS
    altogether: int = MAX
    open: Counter[str] = field(default_factory=Counter)
    """By address."""

    def enter(self, address: str) -> bool:
        """Whether there is room for one more."""
        if self.open[address] >= self.per_address or self.open.total() >= self.altogether:
            metrics.CONNECTIONS_REFUSED.inc()
            return False
        self.open[address] += 1
        metrics.CONNECTIONS.inc()
        return True

    def leave(self, address: str) -> None:
        """One has ended."""
        metrics.CONNECTIONS.dec()
        self.open[address] -= 1
        if not self.open[address]:
            del self.open[address]


class _Counted(asyncio.Protocol):
    """Stands between a connection and its handler: counts it, or drops it before anything is read."""

    def __init__(self, connections: Connections, handler: asyncio.Protocol) -> None:
        self._connections = connections
        self._handler = handler
        self._address = ""
        """Set while the connection is counted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = normal_address(transport.get_extra_info("peername")[0])
        if not self._connections.enter(address):
            cast(asyncio.Transport, transport).abort()
            return
        self._address = address
        self._handler.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address:
            self._connections.leave(self._address)
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()


@asynccontextmanager
async def listening(
    app: web.Application, port: int, *, host: str | None = None, connections: Connections | None = None
) -> AsyncIterator[asyncio.Server]:
    """Serve `app` while the block runs; the server can be closed before, which leaves open connections alone."""
    bounds = connections or Connections()
    # An encoded body is refused, and costs nothing until then.
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=1, keepalive_timeout=IDLE_SECONDS, auto_decompress=False
    )
    await runner.setup()
    handler = cast(Callable[[], asyncio.Protocol], runner.server)
    server = await asyncio.get_running_loop().create_server(lambda: _Counted(bounds, handler()), host, port)
    try:
        yield server
    finally:
        server.close()
        await runner.cleanup()
