"""A client's way to the simulated API server, with all that can happen on it.

It stands in the place of an aiohttp session, as far as ApiClient uses one: half of the machine's time would be HTTP.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, cast

import aiohttp
from yarl import URL

from agentsession.kube.client import ApiClient
from tests.kube.faults import Fault, Faults, Lose

from .apiserver import ApiServer
from .clock import OWNER
from .objects import StatusError
from .patches import JSON

SERVER = "http://api"
T = TypeVar("T")
CALM = 10.0
"""Seconds after which no request is under way that something has happened to."""
MOST_A_SECOND = 25
"""Writes of one object by one client; what fails is tried again ever later."""


@dataclass
class _Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    lines: AsyncIterator[bytes] | None = None

    @property
    def content(self) -> "_Answer":
        return self

    async def read(self) -> bytes:
        return self.body

    def iter_any(self) -> AsyncIterator[bytes]:
        assert self.lines is not None
        return self.lines


class Way(Faults):
    """What one client gets through it."""

    def __init__(self, server: ApiServer, seed: int = 0, latency: float = 0.0, name: str = "") -> None:
        """latency: seconds that each leg of a request, and each event of a watch, takes at most. name: the client's."""
        super().__init__(seed)
        self.hurried: str | None = None
        """A request that was made so often in a second that whoever makes it is in a busy loop."""
        self.late = 0.0
        """Seconds after which the last write of a client arrives that dies of it and has its answer lost."""
        self.dies_claiming: Lose | None = None
        """What is lost of its next claim, of which the client dies."""
        self._name = name
        self._second = 0
        self._made: Counter[str] = Counter()
        self._latency = latency
        self._flowing = True
        self._troubled = 0.0
        self._server = server
        self._watches: dict[asyncio.Event, bool] = {}
        """What wakes each, and whether it is to break."""

    def client(self) -> ApiClient:
        """Whose requests go this way."""
        return ApiClient(SERVER, cast(aiohttp.ClientSession, self))

    def strike(self, method: str, path: str, query: str, *, watch: bool) -> Fault | None:
        """What happens to this request, which is counted."""
        fault = super().strike(method, path, query, watch=watch)
        if fault is not None:
            self._trouble()
        last_words = fault is not None and self.crashing and fault.lose == "answer"
        return replace(fault, delay=self.late) if fault is not None and last_words else fault

    def hang(self) -> None:
        """Hold watches up, so that caches grow stale."""
        self._flowing = False
        self._trouble()
        self._wake()

    def flow(self) -> None:
        """Let them go on."""
        if not self._flowing:
            self._trouble()
        self._flowing = True
        self._wake()

    @property
    def calm(self) -> bool:
        """Whether nothing has been lost, late or held up for a while."""
        return self._flowing and asyncio.get_running_loop().time() - self._troubled > CALM

    def _trouble(self) -> None:
        self._troubled = asyncio.get_running_loop().time()

    def _wake(self) -> None:
        for grown in self._watches:
            grown.set()

    def cut_watches(self) -> None:
        """Break every watch that is open."""
        self._trouble()
        for grown in self._watches:
            self._watches[grown] = True
        self._wake()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: URL,
        *,
        data: bytes | None,
        headers: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
        **_: Any,
    ) -> AsyncIterator[_Answer]:
        """As aiohttp's."""
        async with asyncio.timeout(timeout.total):
            content_type = (headers or {}).get("Content-Type", "")
            if content_type == JSON and self.dies_claiming is not None:
                self.crash_at(1, lose=self.dies_claiming)
            fault = self.strike(method, url.path, url.query_string, watch=False)
            if method in ("PATCH", "DELETE"):
                self._hurry(f"{method} {url.path}")
            sent = self._sent(
                fault, partial(self._server.answer, self._name, method, url.path, url.query, data, content_type)
            )
            answer = await asyncio.shield(_detached(sent))
            await self._leg()
        yield answer

    async def _sent(self, fault: Fault | None, commit: Callable[[], tuple[int, bytes]]) -> _Answer:
        """What is on its way arrives, also after the death of whoever sent it."""
        answer = await self._refused(fault)
        await self._leg()
        if answer is None:
            answer = _Answer(*commit())
            if fault is not None and fault.lose == "answer":
                self._lose()
        return answer

    @asynccontextmanager
    async def get(self, url: URL, *, timeout: aiohttp.ClientTimeout, **_: Any) -> AsyncIterator[_Answer]:  # noqa: ASYNC109
        """A watch, as aiohttp's."""
        now = asyncio.get_running_loop().time
        assert timeout.total is not None
        give_up = now() + timeout.total
        fault = self.strike("GET", url.path, url.query_string, watch=True)
        answer = await self._refused(fault)
        await asyncio.sleep(0)
        breaks = fault is not None and fault.lose == "answer"
        yield answer or _Answer(200, lines=self._lines(url, give_up, breaks=breaks))

    async def _leg(self) -> None:
        await asyncio.sleep(self.random.uniform(0, self._latency))

    def _hurry(self, request: str) -> None:
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second = second
            self._made.clear()
        self._made[request] += 1
        if self._made[request] > MOST_A_SECOND:
            self.hurried = request

    async def _refused(self, fault: Fault | None) -> _Answer | None:
        """What is answered without the server. Raises what aiohttp does if nothing is."""
        if fault is None:
            return None
        await asyncio.sleep(fault.delay)
        if fault.status:
            return _Answer(fault.status, fault.body.encode(), fault.headers)
        if fault.lose == "request":
            self._lose()
        return None

    def _lose(self) -> None:
        if self.crashing:
            self.crashed.set()
            self.cut_watches()
        raise aiohttp.ServerDisconnectedError

    async def _lines(self, url: URL, give_up: float, *, breaks: bool) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        version, end = int(url.query["resourceVersion"]), now() + float(url.query["timeoutSeconds"])
        grown = asyncio.Event()
        self._watches[grown] = False
        with self._server.followed(url.path, grown), ExitStack() as stack:
            stack.callback(self._watches.pop, grown)
            while True:
                grown.clear()
                if self._watches[grown]:
                    raise aiohttp.ClientPayloadError("cut off")
                for change, line in self._changes(url, version) if self._flowing else ():
                    version = change
                    if breaks:
                        raise aiohttp.ClientPayloadError("cut off at its first event")
                    if line:
                        yield line
                if self._flowing and now() >= end:
                    return
                if now() >= give_up:
                    raise TimeoutError
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(end if self._flowing else give_up):
                        await grown.wait()
                await self._leg()

    def _changes(self, url: URL, version: int) -> Iterator[tuple[int, bytes]]:
        try:
            yield from self._server.changes(url.path, url.query, version)
        except StatusError as error:
            yield version, json.dumps({"type": "ERROR", "object": error.body}).encode() + b"\n"


def _detached(doing: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that belongs to no process, so that no process takes it with it."""
    owner = OWNER.set("")
    task = asyncio.create_task(doing)
    OWNER.reset(owner)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
