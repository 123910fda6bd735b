"""The request screen: what a request must look like before it is forwarded with the tenant's key.

The provider itself can be told to fetch and to send, so a request is not only a matter between agent and model.
The body is parsed once, here; what is forwarded are its very bytes, so nothing may read them in a second way.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from .refusal import Refusal

MAX_BODY_BYTES = 32 * 1024 * 1024
"""The provider's own limit."""

MAX_OUTPUT_TOKENS = 1_000_000
"""More than any model gives; an answer that is lost is billed at what was asked for."""

Route = Literal["/v1/messages", "/v1/messages/count_tokens"]
MESSAGES: Route = "/v1/messages"
COUNT_TOKENS: Route = "/v1/messages/count_tokens"


@dataclass(frozen=True)
class Screened:
    """What the plane needs to know of a request that may be forwarded."""

    route: Route
    model: str
    streamed: bool
    max_tokens: int
    """0 for count_tokens, which produces none."""


class _DuplicateKeyError(ValueError):
    pass


def screen_head(query: str, headers: Mapping[str, str]) -> Refusal | None:
    """What can be refused before the body is read. `query` is the raw query string."""
    if query not in ("", "beta=true"):
        return _invalid("the query string is not one that this gateway forwards: only beta=true is")
    if "content-encoding" in {name.lower() for name in headers}:
        return _invalid("an encoded body cannot be screened: send it without Content-Encoding")
    return None


def screen_body(route: Route, body: bytes, models: Collection[str]) -> Screened | Refusal:
    """The request in `body`, if it is for one of `models`."""
    try:
        request = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _DuplicateKeyError as error:
        return _invalid(f"the body has the key {error} twice in one object")
    except (ValueError, RecursionError):
        return _invalid("the body is not JSON in UTF-8")
    if not isinstance(request, dict):
        return _invalid("the body is not a JSON object")

    model = request.get("model")
    if not isinstance(model, str) or model not in models:
        return _invalid(f"model: the tenant allows {', '.join(sorted(models))}; this request names {_shown(model)}")
    if route == COUNT_TOKENS:
        return Screened(route, model, streamed=False, max_tokens=0)

    streamed = request.get("stream", False)
    if not isinstance(streamed, bool):
        return _invalid("stream: true or false")
    max_tokens = request.get("max_tokens")
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not 1 <= max_tokens <= MAX_OUTPUT_TOKENS:
        return _invalid(f"max_tokens: a whole number from 1 to {MAX_OUTPUT_TOKENS} is required")
    return Screened(route, model, streamed, max_tokens)


def _invalid(message: str) -> Refusal:
    return Refusal(400, "invalid_request_error", message)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKeyError(_shown(next(name for name in names if names.count(name) > 1)))
    return found


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _shown(value: object) -> str:
    return json.dumps(value)[:80] if isinstance(value, str) else "no model id"
