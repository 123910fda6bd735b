"""The request screen: what a request must look like before it is forwarded with the tenant's key.

The provider itself can be told to fetch and to send, so a request is not only a matter between agent and model.
The body is parsed once, here; what is forwarded are its very bytes, so nothing may read them in a second way.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Literal

from multidict import CIMultiDictProxy

from .content import FIELDS, refused_content
from .refusal import Refusal

MAX_BODY_BYTES = 32 * 1024 * 1024
"""The provider's own limit."""

MAX_OUTPUT_TOKENS = 1_000_000
"""More than any model gives; an answer that is lost is billed at what was asked for."""

VERSION = "2023-06-01"
"""Of the Messages API. Another one may stream in a form that usage cannot be read from."""

BETAS = {
    "advanced-tool-use-2025-11-20",
    "claude-code-20250219",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "effort-2025-11-24",
    "interleaved-thinking-2025-05-14",
    "per-turn-control-2026-07-01",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
}
"""What the CLI asks for, recorded from it. Whatever else exists or will exist may make the provider fetch, run or send
things, answer with another model, or cost more than the list price."""

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


def screen_head(query: str, headers: CIMultiDictProxy[str]) -> Refusal | None:
    """What can be refused before the body is read. `query` is the raw query string."""
    if query not in ("", "beta=true"):
        return _invalid("the query string is not one that this gateway forwards: only beta=true is")
    if "content-encoding" in headers:
        return _invalid("an encoded body cannot be screened: send it without Content-Encoding")
    if not _is_plain_json(headers.getall("content-type", [])):
        return _invalid("Content-Type: application/json in UTF-8 is required, once")
    if headers.getall("anthropic-version", []) != [VERSION]:
        return _invalid(f"anthropic-version: {VERSION} is required, once")
    for beta in _listed(headers.getall("anthropic-beta", [])):
        if beta not in BETAS:
            return _invalid(f"anthropic-beta: {_shown(beta)} is not one that this gateway forwards")
    return None


def screen_body(route: Route, body: bytes | bytearray, models: Collection[str]) -> Screened | Refusal:
    """The request in `body`, if it is for one of `models` and asks the provider for nothing but an answer."""
    try:
        request = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _DuplicateKeyError as error:
        return _invalid(f"the body has the key {error} twice in one object")
    except (ValueError, RecursionError):
        return _invalid("the body is not JSON in UTF-8")
    if not isinstance(request, dict):
        return _invalid("the body is not a JSON object")

    for field in request:
        if field not in FIELDS:
            return _invalid(f"{_shown(field)} is not a field that this gateway forwards")
    if refused := refused_content(request):
        return _invalid(refused)
    model = request.get("model")
    if not isinstance(model, str) or model not in models:
        shown = _shown(model) if isinstance(model, str) else "no model id"
        return _invalid(f"model: the tenant allows {', '.join(sorted(models))}; this request names {shown}")
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


def _is_plain_json(types: list[str]) -> bool:
    if len(types) != 1:
        return False
    parsed = Message()
    parsed["content-type"] = types[0]
    charset = parsed.get_content_charset("utf-8")
    return parsed.get_content_type() == "application/json" and charset in ("utf-8", "utf8")


def _listed(values: list[str]) -> Iterator[str]:
    return (item.strip() for value in values for item in value.split(","))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKeyError(_shown(next(name for name in names if names.count(name) > 1)))
    return found


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _shown(value: str) -> str:
    return json.dumps(value)[:80]
