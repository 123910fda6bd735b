"""What a runner can ask of the egress plane. Whatever else it asks is refused in words that its client understands."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .directory import Directory
from .gate import peer_of
from .identity import ROUTE as IDENTITY
from .identity import IdentityRoute
from .model import ModelRoute
from .refusal import Refusal, unavailable
from .refusals import Refusals
from .screen import COUNT_TOKENS, MAX_BODY_BYTES, MESSAGES, Route


def runner_app(
    model: ModelRoute,
    identity: IdentityRoute,
    directory: Directory,
    refusals: Refusals,
    *,
    draining: Callable[[], bool],
) -> web.Application:
    """The runner-facing port. While `draining`, each connection ends with its answer, so that clients go elsewhere."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_in_words(refusals)])

    async def close_when_draining(_: web.Request, response: web.StreamResponse) -> None:
        if draining():
            response.force_close()
            response.headers["connection"] = "close"  # the head is already made

    async def keys(_: web.Request) -> web.Response:
        published = directory.operator_keys
        return unavailable("no keys yet").response() if published is None else web.json_response(published)

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app.on_response_prepare.append(close_when_draining)
    app.router.add_post(MESSAGES, _at(model, MESSAGES))
    app.router.add_post(COUNT_TOKENS, _at(model, COUNT_TOKENS))
    app.router.add_post(IDENTITY, identity.handle)
    app.router.add_get("/v1/keys", keys)
    app.router.add_get("/healthz", alive)
    app.router.add_head("/", alive)
    return app


def _at(model: ModelRoute, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await model.handle(request, route)

    return handle


def _in_words(refusals: Refusals) -> Middleware:
    """Refuse what no route is for as everything else is refused."""

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            message = f"{request.method} {request.path[:100]} is nothing that a runner may ask for"
            refusal = Refusal(error.status, "not_found_error", message)
            return await refusals.answer(refusal, "other", peer_of(request))

    return refuse
