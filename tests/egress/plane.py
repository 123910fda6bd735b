"""The model route without an API server: the real application, and a directory filled by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from agentsession.api.installation import Installation
from agentsession.api.report import SessionUsage
from agentsession.egress import connections
from agentsession.egress.admission import Unseen
from agentsession.egress.calls import Calls
from agentsession.egress.connections import Connections
from agentsession.egress.credentials import Credentials
from agentsession.egress.directory import Directory
from agentsession.egress.gate import Gate
from agentsession.egress.identity import IdentityRoute, ReviewStatus
from agentsession.egress.ledger import Ledger
from agentsession.egress.model import ModelRoute, upstream_session
from agentsession.egress.refusals import Refusals
from agentsession.egress.routes import runner_app
from agentsession.kube.objects import Key, KubeObject

from . import build


@dataclass
class Plane:
    """One egress process without an API server behind it: what the watches would say is put in by the test."""

    upstream: str
    directory: Directory = field(init=False)
    ledger: Ledger = field(default_factory=lambda: Ledger("one"))
    secret: KubeObject = field(default_factory=build.secret)
    url: str = ""
    fresh: bool = True
    draining: bool = False
    calls: Calls = field(init=False)
    model: ModelRoute = field(init=False)
    refusals: Refusals = field(default_factory=Refusals)
    connections: Connections = field(default_factory=Connections)
    installation: Installation = field(init=False)

    def __post_init__(self) -> None:
        self.directory = build.directory(tenants=(build.tenant(self.upstream),))

    async def look(self, _: Unseen) -> bool:
        return False

    async def review(self, _: str) -> ReviewStatus:
        raise AssertionError("a token was taken to the API server")

    async def read_secret(self, _: Key) -> KubeObject:
        return self.secret

    def app(self, http: aiohttp.ClientSession) -> web.Application:
        gate = Gate(self.directory, lambda: build.EGRESS, lambda: self.fresh, self.look)
        self.calls = Calls(gate.recheck)
        self.installation = build.installation(self.upstream)
        credentials = Credentials(self.read_secret, self.installation, self.directory.tenants, self.ledger)
        refusals = self.refusals
        self.model = ModelRoute(gate, self.calls, credentials, self.ledger, http, refusals)
        return runner_app(
            self.model,
            IdentityRoute(self.review, gate, refusals),
            self.directory,
            refusals,
            draining=lambda: self.draining,
        )

    def usage(self) -> SessionUsage:
        """What the plane has counted for session a."""
        (told,) = self.ledger.report(0).sessions
        return told

    def use_upstream(self, url: str) -> None:
        """Point the tenant at another provider, which the installer allows."""
        self.installation.upstreams.append(url)
        self.directory.tenants.store.observe("MODIFIED", build.tenant(url, generation=2))

    def allow_models(self, *models: str) -> None:
        """Have the tenant allow these models."""
        self.directory.tenants.store.observe("MODIFIED", build.tenant(self.upstream, models=models, generation=3))

    def set_session(self, obj: KubeObject) -> None:
        """As a watch event would."""
        self.directory.sessions.store.observe("MODIFIED", obj)
        self.calls.wake()


@contextlib.asynccontextmanager
async def listening(upstream: str) -> AsyncIterator[Plane]:
    """A plane that serves pod a, which is at 127.0.0.1; its only upstream is that URL."""
    plane = Plane(upstream)
    async with (
        upstream_session() as http,
        connections.listening(plane.app(http), 0, host=build.ADDRESS, connections=plane.connections) as server,
    ):
        watching = asyncio.create_task(plane.calls.watch_over())
        try:
            plane.url = f"http://{build.ADDRESS}:{server.sockets[0].getsockname()[1]}"
            yield plane
        finally:
            watching.cancel()
