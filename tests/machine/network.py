"""A network in memory: transports that hand bytes to each other, in order, one turn of the event loop later."""

import asyncio
from collections import deque
from collections.abc import Callable, MutableMapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

Address = tuple[str, int]


class Transport(asyncio.Transport):
    """One end. What its peer sent before it closed still arrives."""

    peer: "Transport"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.Protocol,
        own: Address,
        other: Address,
        peer: "Transport | None" = None,
    ) -> None:
        super().__init__({"sockname": own, "peername": other})
        if peer is not None:
            self.peer = peer
        self._loop = loop
        self._protocol = protocol
        self._inbox: deque[bytes] = deque()
        self._hung_up = False
        self._reading = True
        self._closing = False
        self._lost = False

    def write(self, data: Any) -> None:
        if not self._closing and data:
            self.peer._take(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._loop.call_soon(self._deliver)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def can_write_eof(self) -> bool:
        return False

    def _take(self, data: bytes) -> None:
        self._inbox.append(data)
        self._loop.call_soon(self._deliver)

    def _hang_up(self) -> None:
        self._hung_up = True
        self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._inbox and self._reading and not self._closing:
            self._protocol.data_received(self._inbox.popleft())
        if self._hung_up and not self._inbox:
            self.close()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(None)
            self.peer._hang_up()


@dataclass(eq=False)
class Listener:
    """What asyncio calls a server."""

    address: Address
    factory: Callable[[], asyncio.Protocol]
    among: MutableMapping[Address, "Listener"]
    context: Context = field(default_factory=copy_context)

    def accept(self, end: Callable[[asyncio.Protocol], "Transport"]) -> "Transport":
        """Serve a connection, as the one who listens: not as the one who connects."""

        def made() -> Transport:
            protocol = self.factory()
            transport = end(protocol)
            protocol.connection_made(transport)
            return transport

        return self.context.run(made)

    @property
    def sockets(self) -> list["Listener"]:
        return [self]

    def getsockname(self) -> Address:
        return self.address

    def close(self) -> None:
        """Take no more connections."""
        self.among.pop(self.address, None)

    async def wait_closed(self) -> None:
        """It is closed at once."""


def connected(
    loop: asyncio.AbstractEventLoop, client: asyncio.Protocol, own: Address, listener: Listener
) -> tuple[Transport, asyncio.Protocol]:
    """Join a client with whoever listens; returns the client's side, as create_connection does."""
    near = Transport(loop, client, own, listener.address)
    near.peer = listener.accept(lambda server: Transport(loop, server, listener.address, own, near))
    client.connection_made(near)
    return near, client
