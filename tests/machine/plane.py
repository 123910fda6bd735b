"""The egress plane: what decides whom to serve is the real thing, fed by a real watch; no model stands behind it.

It is the oracle of "would be served", it serves and counts the simulated agents' requests, and it reports to the
operators. Its processes come and go; what the whole plane has served is remembered here to be compared with status.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

from aiohttp import web

from agentsession.api.report import TenantCredential
from agentsession.egress.admission import Served, admit
from agentsession.egress.control import Control
from agentsession.egress.directory import Directory, RunnerPod
from agentsession.egress.gate import Gate
from agentsession.egress.ledger import Ledger
from agentsession.egress.lookup import Lookup
from agentsession.egress.refusal import Refusal
from agentsession.egress.usage import Tokens
from agentsession.keys.identity import Identity
from agentsession.keys.keyring import InvalidTokenError, Keyring
from agentsession.kube.client import ApiClient

from .clock import Clock


class Plane:
    """One process at a time. `directory` is filled by whoever watches."""

    def __init__(self, api: ApiClient, operators: Keyring, clock: Clock) -> None:
        self.directory = Directory()
        self.directory.trust(operators.jwks())
        self.served: Counter[str] = Counter()
        """Requests by session uid, over the life of all processes."""
        self.reports = True
        """Whether the operators reach it."""
        self._port = 0
        self._own = Keyring.generate(clock.now())
        self._clock = clock
        self._incarnations = count(1)
        self._stack = AsyncExitStack()
        self._ledger: Ledger
        self._gate = Gate(self.directory, lambda: self._own, lambda: True, Lookup(api, self.directory))

    def serves(self, session_uid: str) -> list[str]:
        """The uids of the pods whose requests for that session would be forwarded now."""
        pods = self.directory.pods.all()
        return [pod.metadata.uid for pod in pods if self._session_of(pod) == session_uid and self._admits(pod)]

    def _session_of(self, pod: RunnerPod) -> str | None:
        try:
            grant = self.directory.grant(pod)
        except InvalidTokenError:
            return None
        return grant.session_uid if grant is not None else None

    def _admits(self, pod: RunnerPod) -> bool:
        return any(
            isinstance(admit(self.directory, _identity(pod.metadata.uid, pod.key, address), address), Served)
            for address in pod.addresses
        )

    def token(self, pod_uid: str, key: tuple[str, str], address: str) -> str:
        """The identity that the pod's init container got. Tokens live in real time: what verifies them has no other."""
        return _identity(pod_uid, key, address).sign(self._own, datetime.now(UTC))[0]

    @property
    def url(self) -> str:
        """The Service's address; the same for every process."""
        return f"http://127.0.0.1:{self._port}"

    def peers(self) -> list[str]:
        """What the Service's name resolves to."""
        return [self.url] if self.reports else []

    def tenant_seen(self, namespace: str, name: str, generation: int) -> None:
        """Its credential can be used."""
        found = TenantCredential(namespace=namespace, name=name, generation=generation, state="Ready")
        self._ledger.credential(found)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Plane"]:
        """The first process."""
        async with self._stack:
            await self.restart()
            yield self

    async def restart(self) -> None:
        """A new process, which has counted nothing, in the place of the old."""
        await self._stack.aclose()
        self._ledger = Ledger(f"e-{next(self._incarnations)}")
        self._ledger._started = self._clock.now()
        for tenant in self.directory.tenants.all():
            self.tenant_seen(*tenant.key, tenant.metadata.generation)
        app = Control(self._ledger, self.directory, lambda: "").app()
        app.router.add_get("/v1/keys", self._keys)
        app.router.add_post("/v1/messages", self._messages)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.001, handler_cancellation=True)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        self._port = runner.addresses[0][1]

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response(self.directory.operator_keys)

    async def _messages(self, request: web.Request) -> web.Response:
        admitted = await self._gate.admit(request)
        if isinstance(admitted, Refusal):
            return admitted.response()
        session = admitted.served.session
        if self._ledger.requests(session) >= session.spec.limits.turns:
            self._ledger.stop(session, "TurnLimit")
            return Refusal(429, "billing_error", "limits.turns").response()
        self._ledger.begin(session, self._clock.now())
        self._ledger.bill(session, Tokens(output=1), Decimal("0.01"))
        self.served[session.metadata.uid] += 1
        return web.json_response({})


def _identity(pod_uid: str, key: tuple[str, str], address: str) -> Identity:
    return Identity(pod_uid=pod_uid, pod_name=key[1], namespace=key[0], address=address)
