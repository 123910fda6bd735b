"""Simulated time and a network in memory: an event loop for which nothing outside its process exists.

In the place of waiting, time passes: when nothing else is left to do, the clock goes to the next timer. Connections
join two protocols directly. So a run depends on nothing but the choices made in it, takes only the time that its code
takes, and happens the same way again.
"""

import asyncio
import contextlib
import itertools
import math
import selectors
import socket
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from .network import Address, Listener, connected

OWNER: ContextVar[str] = ContextVar("OWNER", default="")
"""Whose process the running task belongs to; tasks inherit it from the one that starts them."""


AHEAD = timedelta(days=1)
"""What verifies tokens lives in real time: none that is signed here may have expired there."""
MOST_TURNS = 20_000
"""Of the event loop, before time must have passed."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """`idle()` waits until nothing more happens without time passing; `leap` is a time in which nobody could work."""

    def __init__(self) -> None:
        self.leapt = 0.0
        self._now = 0.0
        self._resting: list[asyncio.Future[None]] = []
        self._owners: WeakKeyDictionary[asyncio.Task[Any], str] = WeakKeyDictionary()
        self._listeners: dict[Address, Listener] = {}
        self._peers: WeakKeyDictionary[socket.socket, Address] = WeakKeyDictionary()
        self._ports = itertools.count(10_000)
        super().__init__(_Clockwork(self._rest))
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._now

    def leap(self, seconds: float) -> None:
        """Let that much time have passed: whatever was due by then is due at once."""
        self._pass(seconds)
        self.leapt += seconds

    async def idle(self) -> None:
        """Wait until all that is left to do waits for time."""
        resting = self.create_future()
        self._resting.append(resting)
        await resting

    def tasks_of(self, owner: str) -> list[asyncio.Task[Any]]:
        """The tasks of that process that have not ended."""
        return [task for task, name in self._owners.items() if name == owner and not task.done()]

    def end(self) -> None:
        """Cancel what is left, and close."""
        for task in asyncio.all_tasks(self):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                self.run_until_complete(task)
        self.close()

    # What callers give to these is more than anybody here needs.
    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """In no thread: the order of things must not depend on the machine."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    async def create_server(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        """Listen in memory."""
        address = (host, port or next(self._ports))
        if address in self._listeners:
            raise OSError(f"{address} is in use")
        self._listeners[address] = Listener(address, factory, self._listeners)
        return self._listeners[address]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Note where it leads to; nothing real is connected. Raises ConnectionRefusedError."""
        if address[:2] not in self._listeners:
            raise ConnectionRefusedError(f"nobody listens at {address[:2]}")
        self._peers[sock] = address[:2]

    async def create_connection(  # type: ignore[override]
        self, factory: Any, *_: Any, sock: socket.socket | None = None, **__: Any
    ) -> Any:
        """Join both ends. Raises ConnectionRefusedError."""
        assert sock is not None, "by sock_connect only, as aiohttp does"
        address, local = self._peers.pop(sock), sock.getsockname()[0]
        sock.close()
        if (listener := self._listeners.get(address)) is None:
            raise ConnectionRefusedError(f"nobody listens at {address} any more")
        client = (local if local.startswith("127.") else "127.0.0.1", next(self._ports))
        return connected(self, factory(), client, listener)

    def _rest(self, seconds: float | None) -> None:
        if self._resting:
            for resting in self._resting:
                if not resting.done():
                    resting.set_result(None)
            self._resting.clear()
        elif seconds is None:
            raise RuntimeError("nothing will ever happen any more")
        else:
            self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self._now += seconds
        self._clock_resolution = math.ulp(self._now)  # a timer is due at its time, not within a nanosecond before it

    def _make_task(
        self,
        _: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=self, **options)
        context = options.get("context")
        self._owners[task] = context.get(OWNER, "") if context is not None else OWNER.get()
        return task


class _Clockwork(selectors.SelectSelector):
    """Where a loop waits for its next timer, time passes instead."""

    def __init__(self, rest: Callable[[float | None], None]) -> None:
        super().__init__()
        self._rest = rest
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turns += 1
        if timeout != 0:
            self._turns = 0
            self._rest(timeout)
        elif self._turns == MOST_TURNS:
            raise RuntimeError(f"time stands still: somebody has been busy for {MOST_TURNS} turns of the event loop")
        return []


class Clock:
    """The wall clock of everything simulated; `skew` is how far the operators' own is off, as after a step of NTP."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.skew = timedelta(0)
        self.stepped = False
        self._loop = loop
        self._began = datetime.now(UTC).replace(microsecond=0) + AHEAD

    def step(self, by: timedelta) -> None:
        """Put the operators' clock forward or back."""
        self.skew += by
        self.stepped = True

    def now(self) -> datetime:
        """Of the API server, the nodes and the egress plane."""
        return self._began + timedelta(seconds=self._loop.time())

    def operators_now(self) -> datetime:
        """Of the operators."""
        return self.now() + self.skew

    def lease_now(self) -> float:
        """Monotonic seconds of the elections: hours can pass at once without a change of leader."""
        return self._loop.time() - self._loop.leapt
