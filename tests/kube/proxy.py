"""A proxy in front of a real API server that does to requests what networks, overload and crashes do; see faults.py.

`proxy.watching.clear()` makes every watch stale until it is set again; `proxy.cut_watches()` breaks them all.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from agentsession.kube.connection import Connection

from .faults import Faults


class Proxy(Faults):
    """While `flowing` is not set, nothing goes through, but connections stay open; `watching` does so for watches."""

    def __init__(self, server: str, session: aiohttp.ClientSession, seed: int = 0) -> None:
        super().__init__(seed)
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.watching = asyncio.Event()
        self.watching.set()
        self._watches: set[asyncio.Transport] = set()
        self._server = server
        self._session = session

    def cut_watches(self) -> None:
        """Break every watch that is open."""
        for transport in tuple(self._watches):
            transport.abort()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        fault = self.strike(request.method, request.path, request.query_string, watch="watch" in request.query)
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
        if self.crashing:
            self.crashed.set()
            self.cut_watches()
        return _broken(request)

    async def _forward(self, request: web.Request, *, break_watch: bool = False) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._stream(request, break_watch=break_watch)
        async with self._ask(request) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    async def _stream(self, request: web.Request, *, break_watch: bool) -> web.StreamResponse:
        async with self._ask(request) as answer:
            response = web.StreamResponse(status=answer.status)
            await response.prepare(request)
            assert request.transport is not None
            self._watches.add(request.transport)
            try:
                async for chunk in answer.content.iter_any():
                    await self.flowing.wait()
                    await self.watching.wait()
                    if break_watch:
                        break
                    await response.write(chunk)
            finally:
                self._watches.discard(request.transport)
            return response

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
    async with connection.open() as session:
        proxy = Proxy(connection.server, session, seed)
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
