"""A proxy in front of a real API server that does to requests what networks, overload and crashes do.

- `proxy.faults.append(Fault(503))`: the next request.
- `proxy.rules.append(Rule(Fault(409), verbs={"patch"}, resources={"agentsessions/status"}, probability=0.2))`: one
  request in five, drawn from `proxy.random`, which has a fixed seed.
- `Fault(delay=0.3, lose="nothing")` is latency; `Fault(429, headers={"Retry-After": "1"})` an overloaded server;
  `Fault(lose="answer")` a write that is committed and not answered, or a watch that breaks at its next event.
- `proxy.watching.clear()` makes every watch stale until it is set again; `proxy.cut_watches()` breaks them all.
- `proxy.crash_at(3, lose="answer")` is the death of the only client right after its third write from now was committed,
  with "request" right before: nothing gets through any more, and `proxy.crashed` is set.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import aiohttp
from aiohttp import web

from agentsession.kube.connection import Connection

Lose = Literal["request", "answer", "nothing"]
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    status: answered so, with `body`, and not forwarded; 0: see `lose`. lose: the "request", so that nothing was done,
    or the "answer", so that it was; the connection breaks. delay: seconds before anything else.
    """

    status: int = 0
    lose: Lose = "request"
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "overloaded"


@dataclass(frozen=True)
class Rule:
    """Which requests a fault happens to, as RBAC would name them.

    verbs: get, list, watch, create, update, patch, delete. resources: plural, with the subresource if there is one, as
    "pods" or "agentsessions/status". Empty means any. probability: of each request that is meant.
    """

    fault: Fault
    verbs: Collection[str] = ()
    resources: Collection[str] = ()
    probability: float = 1.0

    def meets(self, verb: str, resource: str) -> bool:
        """Whether such a request is meant."""
        return (not self.verbs or verb in self.verbs) and (not self.resources or resource in self.resources)


def asked(method: str, path: str, *, watch: bool) -> tuple[str, str]:
    """Verb and resource of a request, as RBAC would name them."""
    parts = path.strip("/").split("/")
    parts = parts[2 if parts[0] == "api" else 3 :]
    if parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    resource = "/".join([parts[0], *parts[2:]])
    return _VERBS.get(method) or ("watch" if watch else "get" if len(parts) > 1 else "list"), resource


Watch = tuple[int, AsyncIterator[bytes]]
"""Status and lines of a watch."""


class Upstream(Protocol):
    """What answers the requests that get through."""

    async def answer(self, request: web.Request) -> web.Response:
        """Answer what is not a watch."""

    def watch(self, request: web.Request) -> AbstractAsyncContextManager[Watch]:
        """Answer a watch."""


class Proxy:
    """`faults` are used up request by request; then the first of `rules` that strikes does. `seen` is what came, as
    "METHOD path?query"; `writes` counts what was not a GET.

    While `flowing` is not set, nothing goes through, but connections stay open.
    """

    def __init__(self, upstream: Upstream, seed: int = 0) -> None:
        self.faults: list[Fault] = []
        self.rules: list[Rule] = []
        self.random = random.Random(seed)  # noqa: S311
        self.seen: list[str] = []
        self.writes = 0
        self.pending = 0
        """Requests that the API server has and has not answered, watches not counted."""
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.watching = asyncio.Event()
        self.watching.set()
        self.crashed = asyncio.Event()
        self._crash: tuple[int, Lose] | None = None
        self._watches: set[asyncio.Transport] = set()
        self._upstream = upstream

    def crash_at(self, write: int, *, lose: Lose) -> None:
        """Let nothing through any more from the `write`th write on; that one itself is lost as told."""
        self._crash = (self.writes + write, lose)

    def cut_watches(self) -> None:
        """Break every watch that is open."""
        for transport in tuple(self._watches):
            transport.abort()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.seen.append(f"{request.method} {request.path_qs}")
        fault = self._fault(request)
        await self.flowing.wait()
        if fault is None:
            return await self._forward(request)
        await asyncio.sleep(fault.delay)
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers, text=fault.body)
        if fault.lose == "nothing":
            return await self._forward(request)
        if fault.lose == "answer":
            await self._forward(request, break_watch=True)
        if self._crash is not None and self.writes >= self._crash[0]:
            self.crashed.set()
            self.cut_watches()
        return _broken(request)

    def _fault(self, request: web.Request) -> Fault | None:
        verb, resource = asked(request.method, request.path, watch="watch" in request.query)
        if request.method != "GET":
            self.writes += 1
        if self._crash is not None and self.writes >= self._crash[0]:
            last_words = self.writes == self._crash[0] and request.method != "GET"
            return Fault(lose=self._crash[1] if last_words else "request")
        if self.faults:
            return self.faults.pop(0)
        meant = (rule for rule in self.rules if rule.meets(verb, resource))
        return next((rule.fault for rule in meant if self.random.random() < rule.probability), None)

    async def _forward(self, request: web.Request, *, break_watch: bool = False) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._stream(request, break_watch=break_watch)
        self.pending += 1
        try:
            return await self._upstream.answer(request)
        finally:
            self.pending -= 1

    async def _stream(self, request: web.Request, *, break_watch: bool) -> web.StreamResponse:
        async with self._upstream.watch(request) as (status, chunks):
            response = web.StreamResponse(status=status)
            await response.prepare(request)
            assert request.transport is not None
            self._watches.add(request.transport)
            try:
                async for chunk in chunks:
                    await self.flowing.wait()
                    await self.watching.wait()
                    if break_watch:
                        break
                    await response.write(chunk)
            finally:
                self._watches.discard(request.transport)
            return response


class _OverHttp:
    """The API server that requests are forwarded to."""

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session

    async def answer(self, request: web.Request) -> web.Response:
        async with self._ask(request) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    @asynccontextmanager
    async def watch(self, request: web.Request) -> AsyncIterator[Watch]:
        async with self._ask(request) as answer:
            yield answer.status, answer.content.iter_any()

    @asynccontextmanager
    async def _ask(self, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {name: value for name, value in request.headers.items() if name == "Content-Type"}
        url = self._server + request.raw_path
        async with self._session.request(request.method, url, data=await request.read(), headers=headers) as answer:
            yield answer


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def running(connection: Connection, *, seed: int = 0) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy on loopback, and its URL. It adds the administrator's credentials."""
    async with connection.open() as session, in_front_of(_OverHttp(connection.server, session), seed=seed) as proxy:
        yield proxy


@asynccontextmanager
async def in_front_of(upstream: Upstream, *, seed: int = 0) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy on loopback, and its URL."""
    proxy = Proxy(upstream, seed)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.001)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield proxy, f"http://{host}:{port}"
    finally:
        await runner.cleanup()
