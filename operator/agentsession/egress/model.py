"""The model route: a reverse proxy for the Messages API that adds the tenant's key and reads the usage as it passes.

Bodies go through as the bytes that they are, events as they come, errors of the provider unmodified.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from aiohttp import web
from yarl import URL

from . import metrics
from .audit import audit
from .calls import Call, Calls
from .credentials import Credentials
from .exchange import Exchange, UpstreamError
from .gate import Admitted, Gate, peer_of
from .headers import upstream_headers
from .ledger import Ledger
from .pricing import cost
from .refusal import Refusal
from .screen import MESSAGES, Route, Screened, screen_body, screen_head
from .sse import SseError
from .usage import Tokens, UsageReader

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
"""Longest silence of the provider; it is the CLI's own default, and pings come far more often."""
BODY_SECONDS = 60.0
"""Time to receive a request's body."""

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

    async def handle(self, request: web.Request, route: Route) -> web.StreamResponse:
        """Answer one request of a runner."""
        started = time.perf_counter()
        admitted = screen_head(request.rel_url.raw_query_string, request.headers) or await self.gate.admit(request)
        if isinstance(admitted, Refusal):
            return _refused(admitted, request, route)
        if full := self.calls.full(admitted):
            return _refused(full, request, route, admitted)

        call = Call(admitted, request)
        exchange: Exchange | None = None
        try:
            async with self.calls.open(call):
                reading = time.perf_counter()
                body = await _body(request)
                waited = time.perf_counter() - reading
                ready = await self._ready(admitted, route, body)
                if isinstance(ready, Refusal):
                    return _refused(ready, request, route, admitted)
                screened, key = ready
                reader = UsageReader(
                    request_bytes=len(body), max_tokens=screened.max_tokens, streamed=screened.streamed
                )
                exchange = Exchange(call, screened, reader, spent=time.perf_counter() - started - waited)
                return await self._forward(exchange, body, key)
        except TimeoutError:
            if not call.scope.expired():
                raise
            refusal = call.refusal or Refusal(408, "api_error", "the client has gone")
            return await exchange.end(refusal) if exchange else _refused(refusal, request, route, admitted)

    async def _ready(self, admitted: Admitted, route: Route, body: bytes | Refusal) -> tuple[Screened, str] | Refusal:
        """What to send and the key to send it with. Counts the request: nothing may wait after the turn limit's check."""
        if isinstance(body, Refusal):
            return body
        session, tenant = admitted.served.session, admitted.served.tenant
        screened = screen_body(route, body, tenant.spec.provider.models)
        if isinstance(screened, Refusal):
            return screened
        credential = await self.credentials.of(tenant)
        if credential.key is None:
            return credential.refusal()
        if route == MESSAGES:
            turns = session.spec.limits.turns
            if self.ledger.requests(session) >= turns:
                self.ledger.stop(session, "TurnLimit")
                return _over_turns("/".join(session.key), turns)
            self.ledger.begin(session, datetime.now(UTC))
        return screened, credential.key

    async def _forward(self, exchange: Exchange, body: bytes, key: str) -> web.StreamResponse:
        request = exchange.call.request
        tenant = exchange.call.admitted.served.tenant
        base = tenant.spec.provider.base_url
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        url = URL(base + exchange.screened.route + query, encoded=True)
        started = time.perf_counter()
        try:
            async with self.http.post(
                url, data=body, headers=upstream_headers(request.headers, key), allow_redirects=False
            ) as upstream:
                return await exchange.relay(upstream)
        except (aiohttp.ClientError, UpstreamError, SseError) as error:
            log.warning("model provider %s: %r", base, error)
            shown = str(error) if isinstance(error, UpstreamError) else type(error).__name__
            return await exchange.end(Refusal(502, "api_error", f"the model provider {base} failed: {shown}", 1))
        except asyncio.CancelledError:
            exchange.broken_off = True
            raise
        finally:
            self._settle(exchange, time.perf_counter() - started)

    def _settle(self, exchange: Exchange, seconds: float) -> None:
        """Bill what the answer used, and write it down."""
        served, screened = exchange.call.admitted.served, exchange.screened
        tokens = Tokens()
        if screened.route == MESSAGES and (exchange.reader.began or exchange.broken_off):
            tokens = exchange.reader.tokens()
            price = cost(screened.model, tokens)
            self.ledger.bill(served.session, tokens, price)
            metrics.count_tokens(tokens, price)
        metrics.count_request(screened.route, exchange.status or 502)
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


async def _body(request: web.Request) -> bytes | Refusal:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        return Refusal(413, "request_too_large", error.text or "the body is too large")
    except TimeoutError:
        return Refusal(408, "invalid_request_error", f"the body took more than {BODY_SECONDS:.0f} s")
    except (aiohttp.ClientError, web.RequestPayloadError, ConnectionError):
        return Refusal(400, "invalid_request_error", "the body broke off")


def _over_turns(session: str, turns: int) -> Refusal:
    return Refusal(
        429,
        "billing_error",
        f"AgentSession {session} has used the {turns} model requests of spec.limits.turns: raise it to go on",
    )


def _refused(
    refusal: Refusal, request: web.Request, route: Route, admitted: Admitted | None = None
) -> web.StreamResponse:
    metrics.count_request(route, refusal.status)
    who = _who(admitted) if admitted else {}
    audit("refused", peer=peer_of(request), route=route, status=refusal.status, message=refusal.message, **who)
    return refusal.response()


def _who(admitted: Admitted) -> dict[str, str]:
    served = admitted.served
    return {
        "namespace": served.session.metadata.namespace,
        "session": served.session.metadata.name,
        "session_uid": served.session.metadata.uid,
        "tenant": served.tenant.metadata.name,
        "pod": served.pod.metadata.name,
    }
