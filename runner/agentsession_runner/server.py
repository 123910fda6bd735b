"""The runner's HTTP server: protocol.py's endpoints in front of a session."""

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from .auth import CallVerifier
from .errors import RefusedError
from .protocol import READY_PATH, Action, BindRequest, ErrorBody, PromptRequest
from .session import Session
from .text import one_line

MAX_BODY = 4 * 1024 * 1024
"""Bytes: a prompt of 200,000 characters, each escaped in JSON as a surrogate pair, and some."""
MAX_WAIT = 30.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body", bound=BaseModel)


@web.middleware
async def errors_as_bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say every refusal, aiohttp's own included, as an ErrorBody."""
    try:
        return await handler(request)
    except RefusedError as error:
        return _refusal(error.status, str(error))
    except web.HTTPException as error:
        return _refusal(error.status, error.reason)


def _refusal(status: int, message: str) -> web.Response:
    return _json(ErrorBody(error=one_line(message, 512)), status)


def _json(body: BaseModel, status: int = 200) -> web.Response:
    return web.Response(text=body.model_dump_json(), content_type="application/json", status=status)


class Server:
    """The endpoints of one session."""

    def __init__(self, session: Session, verifier: CallVerifier) -> None:
        self._session = session
        self._journal = session.journal
        self._verifier = verifier

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[errors_as_bodies])
        app.add_routes(
            [
                web.post("/v1/bind", self._bind),
                web.post("/v1/prompt", self._prompt),
                web.get("/v1/state", self._state),
                web.get("/v1/events", self._events),
                web.post("/v1/interrupt", self._interrupt),
                web.post("/v1/drain", self._drain),
                web.get("/healthz", self._healthz),
                web.get(READY_PATH, self._readyz),
            ]
        )
        return app

    async def _caller(self, request: web.Request, action: Action) -> str:
        session_uid = await self._verifier.verify(request.headers.get("Authorization"), action)
        bound = self._journal.state.session_uid
        if action != "bind" and bound not in (None, session_uid):
            raise RefusedError(403, "the call token is for another session")
        return session_uid

    async def _bind(self, request: web.Request) -> web.Response:
        session_uid = await self._caller(request, "bind")
        asked = await _body(request, BindRequest)
        if asked.session_uid != session_uid:
            raise RefusedError(403, "the call token is for another session")
        self._session.bind(session_uid)
        if asked.prompt is not None:
            self._session.prompt(asked.prompt)
        return _json(self._journal.state)

    async def _prompt(self, request: web.Request) -> web.Response:
        await self._caller(request, "prompt")
        self._session.prompt(await _body(request, PromptRequest))
        return _json(self._journal.state)

    async def _state(self, request: web.Request) -> web.Response:
        await self._caller(request, "state")
        wait = min(_number(request, "wait", 0.0), MAX_WAIT)
        return _json(await self._journal.state_after(int(_number(request, "after", -1)), wait))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        await self._caller(request, "events")
        after = int(_number(request, "after", 0))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        async for event in self._journal.events_after(after):
            await response.write(f"id: {event.id}\ndata: {event.model_dump_json()}\n\n".encode())
        return response

    async def _interrupt(self, request: web.Request) -> web.Response:
        await self._caller(request, "interrupt")
        await self._session.interrupt()
        return _json(self._journal.state)

    async def _drain(self, request: web.Request) -> web.Response:
        await self._caller(request, "drain")
        self._session.request_end()
        return _json(self._journal.state)

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        phase = self._journal.state.phase
        return web.Response(text=phase, status=200 if phase == "Ready" else 503)


async def _body(request: web.Request, model: type[Body]) -> Body:
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise RefusedError(400, f"{where}: {first['msg']}") from None


def _number(request: web.Request, name: str, default: float) -> float:
    try:
        value = float(request.query.get(name, default))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RefusedError(400, f"{name}: not a number")
    return value
