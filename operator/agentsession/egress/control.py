"""The control port: what the operator, the kubelet and Prometheus ask. Runners cannot reach it."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from agentsession.api.base import to_json
from agentsession.endpoints import application
from agentsession.keys.call import USAGE_AUDIENCE
from agentsession.keys.keyring import InvalidTokenError, verify

from .directory import Directory
from .gate import bearer
from .ledger import Ledger
from .refusal import Refusal


@dataclass(frozen=True)
class Control:
    """`not_ready` says why runners should not be sent here, or nothing."""

    ledger: Ledger
    directory: Directory
    not_ready: Callable[[], str]

    def app(self) -> web.Application:
        """The routes."""
        app = application(self.not_ready)
        app.router.add_get("/v1/report", self._report)
        return app

    async def _report(self, request: web.Request) -> web.Response:
        """GET /v1/report?after=N&shard=I, with a call token of the operator."""
        keys = self.directory.operator_keys
        token = bearer(request.headers)
        try:
            if keys is None or token is None:
                raise InvalidTokenError("no token, or no key to check it with")
            verify(token, keys, USAGE_AUDIENCE, required=("exp",))
        except InvalidTokenError as error:
            return Refusal(401, "authentication_error", str(error)).response()
        after, shard = request.query.get("after", "0"), request.query.get("shard", "0")
        if not (after.isdecimal() and shard.isdecimal()):
            message = "after: a sequence number, 0 for everything; shard: whose leader asks, from 0"
            return Refusal(400, "invalid_request_error", message).response()
        return web.json_response(to_json(self.ledger.report(int(after), int(shard))))
