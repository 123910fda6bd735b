"""A refusal, in the provider's own words: clients of the Messages API understand nothing else.

https://docs.anthropic.com/en/api/errors gives the error types. `x-should-retry: false` makes the CLI stop at once.
"""

import json
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "overloaded_error",
]


@dataclass(frozen=True)
class Refusal:
    """Why a request gets no further. `message` is for the user: what is wrong and what would be right."""

    status: int
    type: ErrorType
    message: str
    retry_after: int | None = None
    """Seconds after which the same request may succeed; None: it will not."""

    def _body(self) -> str:
        return json.dumps({"type": "error", "error": {"type": self.type, "message": self.message}})

    def response(self) -> web.Response:
        """The whole answer to a request that was not forwarded."""
        headers = {"x-should-retry": "false"} if self.final else {}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        return web.Response(status=self.status, text=self._body(), content_type="application/json", headers=headers)

    @property
    def final(self) -> bool:
        """Whether the client should give up; a 401 is answered by a new token, so it is not final."""
        return self.retry_after is None and self.status != 401

    def event(self) -> bytes:
        """The end of an answer that has begun to stream."""
        return f"event: error\ndata: {self._body()}\n\n".encode()


def unavailable(message: str, retry_after: int = 1) -> Refusal:
    """The plane itself cannot decide now; nothing is forwarded in doubt."""
    return Refusal(503, "overloaded_error", message, retry_after)
