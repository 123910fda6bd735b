"""What a leading operator talks to besides the API server, in this process: an egress process that reports what it is
told to, and the agent of a runner, in a few lines."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from agentsession.api.base import to_json
from agentsession.api.report import CredentialState, Report, SessionUsage, TenantCredential
from agentsession.api.session import AgentSession, Meter
from agentsession.keys.keyring import Keyring
from agentsession.kube.objects import Key, KubeObject
from agentsession_runner.errors import RefusedError
from agentsession_runner.protocol import PromptRequest
from agentsession_runner.session import Answer, Session, Step


class Egress:
    """An egress process: publishes the operator's keys, reports credentials and usage."""

    def __init__(self, keyring: Keyring) -> None:
        self.url = ""
        self._keyring = keyring
        self._started = datetime.now(UTC)
        self._sequence = 0
        self._sessions: dict[str, tuple[int, SessionUsage]] = {}
        self._tenants: dict[Key, tuple[int, TenantCredential]] = {}

    def bills(self, session: AgentSession, requests: int, output: int) -> None:
        """Report that it has served so much."""
        uid, (namespace, name) = session.metadata.uid, session.key
        meter = Meter(incarnation="e-1", requests=requests, output_tokens=output)
        usage = SessionUsage(session_uid=uid, namespace=namespace, session_name=name, meter=meter)
        self._sequence += 1
        self._sessions[uid] = self._sequence, usage

    def finds(self, tenant: KubeObject, state: CredentialState = "Ready", message: str = "") -> None:
        """Report what it found of a tenant's credential."""
        namespace, name = tenant["metadata"]["namespace"], tenant["metadata"]["name"]
        generation = tenant["metadata"]["generation"]
        found = TenantCredential(namespace=namespace, name=name, generation=generation, state=state, message=message)
        self._sequence += 1
        self._tenants[namespace, name] = self._sequence, found

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Egress"]:
        app = web.Application()
        app.router.add_get("/v1/keys", self._keys)
        app.router.add_get("/v1/report", self._report)
        async with serving(app, "127.0.0.1", 0) as runner:
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response(self._keyring.jwks())

    async def _report(self, request: web.Request) -> web.Response:
        after = int(request.query["after"])
        found = Report(
            incarnation="e-1",
            sequence=self._sequence,
            started=self._started,
            sessions=[usage for sequence, usage in self._sessions.values() if sequence > after],
            tenants=[credential for sequence, credential in self._tenants.values() if sequence > after],
        )
        return web.json_response(to_json(found))


@dataclass
class Agent:
    """Answers each prompt with its text in capitals, when it is let."""

    asked: list[str] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    _uuids: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    _cut: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, uuid: str, text: str) -> None:
        self.asked.append(text)
        self._uuids.put_nowait((uuid, text))

    async def steps(self) -> AsyncIterator[Step | Answer]:
        while True:
            uuid, text = await self._uuids.get()
            ends = [asyncio.create_task(end.wait()) for end in (self.free, self._cut)]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self.free.is_set():
                yield Answer(frozenset([uuid]), injected=False, text=text.upper(), reason="")
            else:
                yield Answer(frozenset(), injected=False, text="", reason="interrupted")

    async def interrupt(self) -> None:
        self._cut.set()

    async def close(self) -> None:
        """Nothing to end."""


class DeafSession(Session):
    """It can be bound and drained, and no prompt gets through to it."""

    def prompt(self, request: PromptRequest) -> None:
        raise RefusedError(503, f"{request.uuid} does not get through")


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[web.AppRunner]:
    """Serve while the block runs; leaving breaks off what is under way."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.001, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner
    finally:
        await runner.cleanup()


def loopback() -> str:
    """An address for a pod, on this machine."""
    return ".".join(["127", *(str(1 + secrets.randbelow(250)) for _ in range(3))])
