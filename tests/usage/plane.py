"""Egress processes that report, and the meters that ask them."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import aiohttp
from aiohttp import web

from agentsession.api.base import to_json
from agentsession.api.report import CredentialState, Report, SessionUsage, TenantCredential
from agentsession.api.session import Meter
from agentsession.keys.call import USAGE_AUDIENCE
from agentsession.keys.keyring import Keyring, verify
from agentsession.kube.shards import ALL, Shard
from agentsession.usage.meters import Meters

KEYRING = Keyring.generate(datetime.now(UTC))
KEY = ("n", "s")


class Peer:
    """An egress process that reports what it is told to, and what it was asked."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.started = datetime.now(UTC) - timedelta(hours=1)
        self.sequence = 1
        self.sessions: list[SessionUsage] = []
        self.tenants: list[TenantCredential] = []
        self.final = False
        self.status = 200
        self.asked: list[int] = []
        self.shards: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    def serves(self, output: int, uid: str = "u-1") -> None:
        meter = Meter(incarnation=self.incarnation, requests=1, output_tokens=output)
        self.sessions = [SessionUsage(session_uid=uid, namespace=KEY[0], session_name=KEY[1], meter=meter)]
        self.sequence += 1

    def says(self, state: CredentialState, generation: int = 1) -> None:
        self.tenants = [TenantCredential(namespace="n", name="default", generation=generation, state=state)]
        self.sequence += 1

    async def report(self, request: web.Request) -> web.Response:
        verify(request.headers["Authorization"].removeprefix("Bearer "), KEYRING.jwks(), USAGE_AUDIENCE)
        self.asked.append(int(request.query["after"]))
        self.shards.append(int(request.query["shard"]))
        await self.gate.wait()
        found = Report(
            incarnation=self.incarnation,
            started=self.started,
            sequence=self.sequence,
            final=self.final,
            sessions=self.sessions,
            tenants=self.tenants,
        )
        return web.json_response(to_json(found), status=self.status)


class Plane:
    """Peers, the meters that ask them, and a clock."""

    def __init__(self, http: aiohttp.ClientSession, stack: AsyncExitStack, shard: Shard = ALL) -> None:
        self.peers: list[Peer] = []
        self.begin = self.now = datetime.now(UTC)  # tokens are signed by this clock and checked by the real one
        self.sessions: list[tuple[str, str]] = []
        self.tenants: list[tuple[str, str]] = []
        self.gone = 0
        self.unresolvable = False
        self._stack = stack
        self.meters = Meters(
            http,
            lambda: KEYRING,
            "http://peers",
            shard=shard,
            session_changed=self.sessions.append,
            tenant_changed=self.tenants.append,
            process_gone=self._gone,
            resolve=self._resolve,
            now=lambda: self.now,
        )

    def _gone(self) -> None:
        self.gone += 1

    async def peer(self, incarnation: str) -> Peer:
        peer = Peer(incarnation)
        app = web.Application()
        app.router.add_get("/v1/report", peer.report)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.peers.append(peer)
        return peer

    async def _resolve(self, _: str) -> list[str]:
        if self.unresolvable:
            raise OSError("no such host")
        return [peer.url for peer in self.peers]

    def busy(self, begun: float, ended: float | None) -> tuple[datetime, datetime | None]:
        """From when to when, in seconds after it began; None: it goes on."""
        return self.begin + timedelta(seconds=begun), self.begin + timedelta(
            seconds=ended
        ) if ended is not None else None

    def outputs(self, uid: str = "u-1") -> dict[str, int]:
        return {usage.meter.incarnation: usage.meter.output_tokens for usage in self.meters.session(KEY, uid)}
