"""The model route: a reverse proxy for the Messages API that adds the tenant's key and reads the usage as it passes.

Bodies go through as the bytes that they are, events as they come, errors of the provider unmodified.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import aiohttp
from aiohttp import web
from yarl import URL

from agentsession.api.session import AgentSession
from agentsession_runner import logs

from . import metrics
from .audit import audit
from .bodies import Body, Buffers
from .call import Call
from .calls import Calls
from .credentials import Credentials
from .exchange import Exchange, UpstreamError
from .gate import Admitted, Gate, peer_of
from .headers import upstream_headers
from .ledger import Ledger
from .pricing import cost
from .refusal import Refusal
from .refusals import Refusals
from .screen import MESSAGES, Route, screen_head
from .screening import Screening
from .sse import SseError
from .usage import Tokens, UsageReader

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
"""Longest silence of the provider; it is the CLI's own default, and pings come far more often."""

log = logging.getLogger(__name__)


def upstream_session() -> aiohttp.ClientSession:
    """The client of the providers: no proxy from the environment, no cookies, no decompression."""
    return aiohttp.ClientSession(
        # Idle connections are given up long before a provider's load balancer does: a POST is not repeated.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        auto_decompress=False,
        trust_env=False,
    )


@dataclass(frozen=True)
class ModelRoute:
    """Gate, screen, limits, credential; then the exchange with the provider; then the bill."""

    gate: Gate
    calls: Calls
    credentials: Credentials
    ledger: Ledger
    http: aiohttp.ClientSession
    refusals: Refusals
    buffers: Buffers = field(default_factory=Buffers)
    screening: Screening = field(default_factory=Screening)

    async def handle(self, request: web.Request, route: Route) -> web.StreamResponse:
        """Answer one request of a runner."""
        logs.about()  # the connection's task goes on from request to request
        started = time.perf_counter()
        admitted = screen_head(request.rel_url.raw_query_string, request.headers) or await self.gate.admit(request)
        if isinstance(admitted, Refusal):
            return await self.refusals.answer(admitted, route, peer_of(request))
        logs.about(**_who(admitted))
        answer = self.calls.full(admitted) or await self._call(Call(admitted, request), route, started)
        if isinstance(answer, Refusal):
            return await self.refusals.answer(answer, route, admitted.peer, **_who(admitted))
        return answer

    async def _call(self, call: Call, route: Route, started: float) -> web.StreamResponse | Refusal:
        """One of the session's calls, within its places."""
        body = Body(self.buffers, call.admitted.served.session)
        try:
            async with self.calls.open(call):
                return await self._exchange(call, route, body, time.perf_counter() - started)
        except TimeoutError:
            if not call.scope.expired():
                raise
            return await call.refuse(call.refusal or Refusal(408, "api_error", "the client has gone"))
        finally:
            body.release()

    async def _exchange(self, call: Call, route: Route, body: Body, spent: float) -> web.StreamResponse | Refusal:
        if refusal := await body.receive(call.request):
            return refusal
        started = time.perf_counter()
        served = self.gate.again(call.admitted)
        if isinstance(served, Refusal):
            return served
        tenant = served.tenant
        screened = await self.screening(route, body, tenant)
        if isinstance(screened, Refusal):
            return screened
        credential = await self.credentials.of(tenant)
        if credential.key is None:
            return credential.refusal()
        if route == MESSAGES and (over := self._count(served.session)):
            return over

        usage = UsageReader(request_bytes=len(body.data), max_tokens=screened.max_tokens, streamed=screened.streamed)
        exchange = Exchange(call, screened, usage, spent + time.perf_counter() - started)
        return await self._forward(exchange, body, credential.key)

    def _count(self, session: AgentSession) -> Refusal | None:
        """Count one model request, unless it would be one too many. Nothing waits between the two."""
        turns = session.spec.limits.turns
        if self.ledger.requests(session) < turns:
            self.ledger.begin(session, datetime.now(UTC))
            return None
        self.ledger.stop(session, "TurnLimit")
        name = "/".join(session.key)
        message = f"AgentSession {name} has used the {turns} model requests of spec.limits.turns"
        return Refusal(429, "billing_error", message)

    async def _forward(self, exchange: Exchange, body: Body, key: str) -> web.StreamResponse:
        request = exchange.call.request
        base = exchange.call.admitted.served.tenant.spec.provider.base_url
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        url = URL(base + exchange.screened.route + query, encoded=True)
        headers = upstream_headers(request.headers, key)
        started = time.perf_counter()
        try:
            async with self.http.post(url, data=body.data, headers=headers, allow_redirects=False) as upstream:
                body.release()
                return await exchange.relay(upstream)
        except (aiohttp.ClientError, UpstreamError, SseError) as error:
            exchange.failed = True
            log.warning("model provider %s: %r", base, error)
            shown = str(error) if isinstance(error, UpstreamError) else type(error).__name__
            failed = Refusal(502, "api_error", f"the model provider {base} failed: {shown}", retry_after=1)
            return await exchange.call.refuse(failed)
        except asyncio.CancelledError:
            exchange.broken_off = True
            raise
        finally:
            self._settle(exchange, time.perf_counter() - started)

    def _settle(self, exchange: Exchange, seconds: float) -> None:
        """Bill what the answer used, and write it down."""
        served, screened = exchange.call.admitted.served, exchange.screened
        tokens, price = Tokens(), Decimal(0)
        if screened.route == MESSAGES:
            if exchange.usage.began or exchange.broken_off:
                tokens = exchange.usage.tokens()
                price = cost(screened.model, tokens)
            self.ledger.bill(served.session, tokens, price)
            metrics.count_tokens(tokens, price)
        metrics.count_request(screened.route, exchange.outcome())
        audit(
            "model_call",
            **_who(exchange.call.admitted),
            route=screened.route,
            model=screened.model,
            status=exchange.status,
            input_tokens=tokens.input,
            cache_creation_input_tokens=tokens.cache_creation,
            cache_read_input_tokens=tokens.cache_read,
            output_tokens=tokens.output,
            estimated=tokens.estimated,
            cut=exchange.call.refusal.message if exchange.call.refusal else None,
            abandoned=exchange.call.abandoned,
            ms=round(seconds * 1000),
        )


def _who(admitted: Admitted) -> dict[str, str]:
    served = admitted.served
    return {
        "namespace": served.session.metadata.namespace,
        "session": served.session.metadata.uid,
        "session_name": served.session.metadata.name,
        "tenant": served.tenant.metadata.name,
        "pod": served.pod.metadata.name,
    }
