"""A proxy in front of a real API server that does to a request what networks and overloaded servers do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web

from agentsession.kube.connection import Connection


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    status: answered so, with `body`, and not forwarded; 0: see `after`. after: "commit" forwards the request and loses
    the answer, "nothing" loses the request. delay: seconds before anything else.
    """

    status: int = 0
    after: Literal["commit", "nothing"] = "nothing"
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "overloaded"


class Proxy:
    """`faults` is used up request by request; then all are forwarded. `seen` is what came, as "METHOD path?query".

    While `flowing` is not set, nothing goes through, but connections stay open.
    """

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._server = server
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.seen.append(f"{request.method} {request.path_qs}")
        fault = self.faults.pop(0) if self.faults else None
        await self.flowing.wait()
        if fault is None:
            return await self._forward(request)
        await asyncio.sleep(fault.delay)
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers, text=fault.body)
        if fault.after == "commit":
            await self._forward(request)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name == "Content-Type"}
        url = self._server + request.raw_path
        async with self._session.request(request.method, url, data=await request.read(), headers=headers) as answer:
            if "watch" not in request.query:
                return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)
            response = web.StreamResponse(status=answer.status)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await self.flowing.wait()
                await response.write(chunk)
            return response


@asynccontextmanager
async def running(connection: Connection) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy on loopback, and its URL. It adds the administrator's credentials."""
    async with connection.open() as session:
        proxy = Proxy(connection.server, session)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield proxy, f"http://{host}:{port}"
        finally:
            await runner.cleanup()
