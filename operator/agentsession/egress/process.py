"""One process of the egress plane: what runs in it, and the order in which it starts and ends."""

import asyncio
import logging
import secrets
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

import aiohttp

from agentsession.api.base import is_true
from agentsession.api.installation import Installation
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, PODS, SECRETS
from agentsession.kube.watch import Reflector
from agentsession.resources.names import RUNNER_LABEL
from agentsession_runner import logs

from .calls import Calls
from .connections import listening
from .control import Control
from .credentials import Credentials
from .directory import Directory
from .gate import Gate
from .identity import IdentityRoute, TokenReviewer
from .keysource import KeySource
from .ledger import Ledger
from .lookup import Lookup
from .model import ModelRoute, upstream_session
from .pricing import cost
from .refusals import Refusals
from .routes import runner_app
from .usage import Tokens

STALE_SECONDS = 10.0
"""A replica whose watches have been silent for so long lets nobody in: what it knows may be over."""
SWEEP_SECONDS = 60.0
LEAVE_SECONDS = 3.0
"""After SIGTERM, how long new connections are still taken: Services learn of the end a moment later."""
DRAIN_SECONDS = 600.0
"""Longest wait for open answers; the pod's grace period must be longer, 660 s or more."""
LAST_PULL_SECONDS = 10.0
"""Longest wait for the operator to pull the last counts."""
POLL_SECONDS = 0.1

log = logging.getLogger(__name__)


class Plane:
    """The parts of one process, connected."""

    def __init__(self, installation: Installation, api: ApiClient, http: aiohttp.ClientSession) -> None:
        self.draining = False
        self.directory = directory = Directory()
        self.ledger = Ledger(secrets.token_hex(8), installation.shards)
        self.keys = KeySource(api, installation, directory)
        self._gate = Gate(directory, lambda: self.keys.keyring, self.fresh, Lookup(api, directory))
        self.calls = Calls(self._gate.recheck)

        async def read_secret(key: Key) -> KubeObject:
            return await api.get(SECRETS, key)

        self._credentials = Credentials(read_secret, installation, directory.tenants, self.ledger)
        pods, sessions, tenants = directory.pods.store, directory.sessions.store, directory.tenants.store
        runners = f"{RUNNER_LABEL}=true"
        self._watches = {
            pods: Reflector(api, PODS, pods, label_selector=runners, on_change=lambda *_: self.calls.wake()),
            sessions: Reflector(api, AGENTSESSIONS, sessions, on_change=lambda *_: self.calls.wake()),
            tenants: Reflector(api, AGENTTENANTS, tenants, on_change=lambda *_: self._tenant_changed()),
        }
        refusals = Refusals()
        self.runner_app = runner_app(
            ModelRoute(self._gate, self.calls, self._credentials, self.ledger, http, refusals),
            IdentityRoute(TokenReviewer(api), self._gate, refusals),
            directory,
            refusals,
            draining=lambda: self.draining,
        )
        self.control_app = Control(self.ledger, directory, self.not_ready).app()

    def fresh(self) -> bool:
        """Whether every watch has listed its objects and been heard in the last STALE_SECONDS."""
        return all(store.synced and watch.silence() < STALE_SECONDS for store, watch in self._watches.items())

    def not_ready(self) -> str:
        """Why runners should not be sent here; empty if they may."""
        if self.draining:
            return "draining"
        if not self.fresh():
            silence = max(watch.silence() for watch in self._watches.values())
            return f"no recent view of the cluster: a watch has been silent for {silence:.0f} s"
        if self.keys.keyring is None or self.directory.operator_keys is None:
            return "no keys yet: the leading operator makes them"
        return ""

    def close(self) -> None:
        """Serve nobody any more, and say so in the last report."""
        self.calls.close()
        sessions = self.directory.sessions.all()
        self.ledger.close({s.metadata.uid for s in sessions if not is_true(s.status.conditions, "Finished")})

    def background(self) -> list[Coroutine[None, None, None]]:
        """What runs as long as the process does."""
        return [
            *(watch.run() for watch in self._watches.values()),
            self.keys.keep_reading(),
            self._credentials.keep_reading(),
            self.calls.watch_over(),
            self._sweep(),
        ]

    def _tenant_changed(self) -> None:
        self.calls.wake()
        self._credentials.wake()

    async def _sweep(self) -> None:
        """Forget what is deleted, a while after."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            if self.fresh():
                sessions = {session.metadata.uid for session in self.directory.sessions.all()}
                tenants = {tenant.key for tenant in self.directory.tenants.all()}
                self.ledger.keep_only(sessions | self.calls.sessions(), tenants)


async def serve(installation: Installation, connection: Connection, stop: asyncio.Event) -> None:
    """Run until `stop`, then drain. A background task that fails ends the process, which is then started anew."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(connection.open())
        http = await stack.enter_async_context(upstream_session())
        plane = Plane(installation, ApiClient(connection.server, session), http)
        await stack.enter_async_context(listening(plane.control_app, installation.egress.control_port))
        runners = await stack.enter_async_context(listening(plane.runner_app, installation.egress.port))
        async with asyncio.TaskGroup() as background:
            tasks = [background.create_task(work) for work in plane.background()]
            await stop.wait()
            await _drain(plane, runners)
            for task in tasks:
                task.cancel()


async def _drain(plane: Plane, runners: asyncio.Server) -> None:
    log.info("draining: %d calls are under way", len(plane.calls))
    plane.draining = True
    await asyncio.sleep(LEAVE_SECONDS)
    runners.close()
    await _until(lambda: not plane.calls, DRAIN_SECONDS)
    if not plane.calls:
        plane.close()
    await _until(lambda: plane.ledger.reported == plane.ledger.sequence, LAST_PULL_SECONDS)
    log.info("drained: %d calls are cut off", len(plane.calls))


async def _until(done: Callable[[], bool], seconds: float) -> None:
    """Wait for something that happens once in the life of a process."""
    for _ in range(int(seconds / POLL_SECONDS)):
        if done():
            return
        await asyncio.sleep(POLL_SECONDS)


async def _until_signal(installation: Installation) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(installation, Connection.load(), stop)


def main(installation: Installation) -> None:
    """Serve the egress plane until SIGTERM or SIGINT."""
    logs.configure()
    cost("", Tokens())  # loads the price table, which would otherwise delay the first answer
    asyncio.run(_until_signal(installation))
