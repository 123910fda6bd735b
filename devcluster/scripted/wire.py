"""The Messages API as bytes: what a client of the real service would read, built from plain values and nothing else.

Source: the Messages API reference (streaming events, usage, errors, rate-limit headers).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

JSON = dict[str, object]
StopReason = Literal["end_turn", "tool_use", "max_tokens", "stop_sequence", "refusal", "pause_turn"]

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
RATE_LIMITS = {"requests": 4_000, "tokens": 2_400_000, "input-tokens": 2_000_000, "output-tokens": 400_000}


class Usage(NamedTuple):
    """Tokens of one answer; ``input`` excludes the three cache counts, as in the API."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    def wire(self) -> JSON:
        return {
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.cache_write_5m + self.cache_write_1h,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write_5m,
                "ephemeral_1h_input_tokens": self.cache_write_1h,
            },
            "output_tokens": self.output,
        }


class Text(NamedTuple):
    text: str


class ToolUse(NamedTuple):
    id: str
    name: str
    input: JSON


@dataclass(frozen=True)
class Answer:
    """One complete assistant message."""

    id: str
    model: str
    content: tuple[Text | ToolUse, ...]
    stop_reason: StopReason
    usage: Usage


class Event(NamedTuple):
    """One server-sent event, with the usage that a client knows once it has read it."""

    data: JSON
    usage: Usage

    def encode(self) -> bytes:
        return f"event: {self.data['type']}\ndata: {json.dumps(self.data)}\n\n".encode()


def message(answer: Answer) -> JSON:
    """Return the body of a non-streaming answer."""
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [_block(part) for part in answer.content],
        "stop_reason": answer.stop_reason,
        "stop_sequence": None,
        "usage": answer.usage.wire() | {"service_tier": "standard"},
    }


def events(answer: Answer) -> Iterator[Event]:
    """Yield the streaming form: one text delta per word, tool input as JSON fragments, usage cumulative."""
    at_start = answer.usage._replace(output=min(1, answer.usage.output))
    opening = message(answer) | {
        "content": [],
        "stop_reason": None,
        "usage": at_start.wire() | {"service_tier": "standard"},
    }
    yield Event({"type": "message_start", "message": opening}, at_start)
    for index, part in enumerate(answer.content):
        start = {"type": "content_block_start", "index": index, "content_block": _empty_block(part)}
        yield Event(start, at_start)
        if index == 0:
            yield Event({"type": "ping"}, at_start)
        for delta in _deltas(part):
            yield Event({"type": "content_block_delta", "index": index, "delta": delta}, at_start)
        yield Event({"type": "content_block_stop", "index": index}, at_start)
    stop: JSON = {"stop_reason": answer.stop_reason, "stop_sequence": None}
    yield Event({"type": "message_delta", "delta": stop, "usage": answer.usage.wire()}, answer.usage)
    yield Event({"type": "message_stop"}, answer.usage)


def error(error_type: str, text: str, request_id: str) -> JSON:
    """Return the body of an error, which is also the data of a mid-stream ``error`` event."""
    return {"type": "error", "error": {"type": error_type, "message": text}, "request_id": request_id}


def headers(request_id: str, now: datetime) -> dict[str, str]:
    """Return the headers that every answer carries: identity of the request and untouched rate limits."""
    reset = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {"request-id": request_id, "anthropic-organization-id": "00000000-0000-0000-0000-000000000000"}
    for kind, limit in RATE_LIMITS.items():
        prefix = f"anthropic-ratelimit-{kind}"
        found |= {f"{prefix}-limit": str(limit), f"{prefix}-remaining": str(limit), f"{prefix}-reset": reset}
    return found


def error_headers(status: int) -> dict[str, str]:
    """Return what the service adds to an error: whether a repetition can help, and for 429 when (seconds)."""
    repeat = {"x-should-retry": "true" if status in (408, 409, 429) or status >= 500 else "false"}
    return repeat | ({"retry-after": "1"} if status == 429 else {})


def _block(part: Text | ToolUse) -> JSON:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.input}


def _empty_block(part: Text | ToolUse) -> JSON:
    return _block(part._replace(text="") if isinstance(part, Text) else part._replace(input={}))


def _deltas(part: Text | ToolUse) -> Iterator[JSON]:
    if isinstance(part, Text):
        for word in re.finditer(r"\s*\S+\s*|\s+", part.text):
            yield {"type": "text_delta", "text": word[0]}
        return
    yield {"type": "input_json_delta", "partial_json": ""}
    encoded = json.dumps(part.input)
    for at in range(0, len(encoded), 40):
        yield {"type": "input_json_delta", "partial_json": encoded[at : at + 40]}
