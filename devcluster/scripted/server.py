"""The HTTP side: authenticate, check, find the step that is due, hand it to its delivery, and record all of it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from secrets import token_hex

from aiohttp import web

from devcluster.scripted import conversation, wire
from devcluster.scripted.delivery import Delivery
from devcluster.scripted.markers import ScriptError
from devcluster.scripted.record import Record, Recorder
from devcluster.scripted.reply import compose, tokens_in
from devcluster.scripted.request import InvalidRequest, MessagesRequest, read_request
from devcluster.scripted.rules import Rules
from devcluster.scripted.script import Fault, Step, current, fault_at
from devcluster.scripted.wire import ERROR_TYPES

MAX_BODY_BYTES = 32 << 20  # as the service
MAX_ATTEMPTS_KEPT = 10_000
COUNT_TOKENS = "/v1/messages/count_tokens"
log = logging.getLogger(__name__)


class Refused(Exception):  # noqa: N818 -- an answer, not a defect
    """What the service would refuse, with the HTTP status and the message of the refusal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Scripted:
    """The scripted model. ``url`` is set once it listens; ``records`` is what ``/_requests`` and ``/_usage`` show."""

    def __init__(self, rules: Rules, keys: frozenset[str]) -> None:
        self.url = ""
        self.records = Recorder()
        self._rules = rules
        self._keys = keys
        self._attempts: dict[str, int] = {}

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/_health", self._health)
        app.router.add_get("/_requests", self._list)
        app.router.add_delete("/_requests", self._forget)
        app.router.add_get("/_usage", self._usage)
        app.router.add_route("*", "/{path:.*}", self._recorded)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _list(self, http: web.Request) -> web.Response:
        since = http.query.get("since", "0")
        if not since.isdecimal():
            raise web.HTTPBadRequest(text="since: must be the seq of a request, such as 12\n")
        return web.json_response([record.view(_parsed(record.body)) for record in self.records.records(int(since))])

    async def _forget(self, _: web.Request) -> web.Response:
        self.records.clear()
        self._attempts.clear()
        return web.Response(status=204)

    async def _usage(self, _: web.Request) -> web.Response:
        return web.json_response(self.records.usage())

    async def _recorded(self, http: web.Request) -> web.StreamResponse:
        """Answer whatever is asked outside ``/_``: a path that nobody should call is worth recording too."""
        record = Record(
            seq=self.records.next_number(),
            method=http.method,
            path=http.path,
            query=http.query_string,
            headers=list(http.headers.items()),
            key=_key(http),
            session=http.headers.get("x-claude-code-session-id", ""),
            client=http.remote or "",
        )
        try:
            record.body = await http.read()
        except web.HTTPRequestEntityTooLarge:
            record.violation = f"the body has more than {MAX_BODY_BYTES} bytes"
        self.records.add(record)
        try:
            return await self._answer(http, record)
        except (ConnectionResetError, asyncio.CancelledError) as gone:
            if record.outcome == "open":
                record.outcome = "aborted"
            if isinstance(gone, asyncio.CancelledError):
                raise
            return web.Response()  # nobody reads it
        finally:
            log.info("%s", record)

    async def _answer(self, http: web.Request, record: Record) -> web.StreamResponse:
        headers = wire.headers(f"req_{token_hex(12)}", datetime.now(UTC))
        delivery = Delivery(http, record, self.records, headers)
        try:
            request = self._admitted(record, http.headers.get("anthropic-version", ""))
            position = conversation.position(request.messages)
            step = current(self._rules.steps(position.prompt), len(position.results))
        except Refused as refused:
            return delivery.error(refused.status, ERROR_TYPES[refused.status], str(refused))
        except ScriptError as error:
            return delivery.error(400, ERROR_TYPES[400], f"scripted model: {error}")
        if record.path == COUNT_TOKENS:
            return delivery.count(tokens_in(len(record.body)))
        delivery = replace(delivery, headers=headers | dict(step.headers), delay=step.delay)
        fault = self._fault(step, record.key + position.digest(record.session))
        if fault and (not fault.after or not request.stream):
            return await delivery.fail(fault)
        answer = compose(step, position, model=request.model, session=record.session, size=len(record.body))
        return await (delivery.stream(answer, fault) if request.stream else delivery.whole(answer))

    def _admitted(self, record: Record, version: str) -> MessagesRequest:
        """Return the request if the service would answer it. Raises Refused."""
        if record.method != "POST" or record.path not in ("/v1/messages", COUNT_TOKENS):
            raise Refused(404, f"Not found: {record.method} {record.path}")
        if not record.key:
            raise Refused(401, "x-api-key header is required")
        if self._keys and record.key not in self._keys:
            raise Refused(401, "invalid x-api-key")
        if record.violation:
            raise Refused(413, record.violation)
        try:
            return read_request(record.body, version, counting=record.path == COUNT_TOKENS)
        except InvalidRequest as error:
            record.violation = str(error)
            raise Refused(400, record.violation) from None

    def _fault(self, step: Step, place: str) -> Fault | None:
        """Return the fault that strikes this attempt. Only steps with faults need to know how often they were asked."""
        if not step.faults:
            return None
        attempt = self._attempts.pop(place, 0) + 1
        if len(self._attempts) >= MAX_ATTEMPTS_KEPT:
            del self._attempts[next(iter(self._attempts))]
        self._attempts[place] = attempt
        return fault_at(step, attempt)


@asynccontextmanager
async def running(
    rules: Rules | None = None, *, keys: frozenset[str] = frozenset(), host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Scripted]:
    """Serve on ``host`` and ``port`` (0: a free one); without ``keys`` any key is accepted. Raises OSError."""
    scripted = Scripted(rules or Rules(), keys)
    # handler_cancellation: a client that goes away is noticed at once, also in the silence of [[hang]].
    runner = web.AppRunner(scripted.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        scripted.url = f"http://{host}:{runner.addresses[0][1]}"
        yield scripted
    finally:
        await runner.cleanup()


def _key(http: web.Request) -> str:
    scheme, _, token = http.headers.get("authorization", "").partition(" ")
    return http.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
