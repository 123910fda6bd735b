from datetime import UTC, datetime

import pytest

from devcluster.scripted import wire
from devcluster.scripted.wire import Answer, Text, ToolUse, Usage

pytestmark = pytest.mark.unit

ANSWER = Answer(
    id="msg_1",
    model="m",
    content=(Text("Let me look."), ToolUse("toolu_1", "Bash", {"command": "ls"})),
    stop_reason="tool_use",
    usage=Usage(input=10, output=7, cache_read=20, cache_write_5m=3, cache_write_1h=4),
)
STREAM = """\
event: message_start
data: {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", \
"content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, \
"cache_creation_input_tokens": 7, "cache_read_input_tokens": 20, "cache_creation": {"ephemeral_5m_input_tokens": 3, \
"ephemeral_1h_input_tokens": 4}, "output_tokens": 1, "service_tier": "standard"}}}

event: content_block_start
data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Let "}}

event: content_block_delta
data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "me "}}

event: content_block_delta
data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "look."}}

event: content_block_stop
data: {"type": "content_block_stop", "index": 0}

event: content_block_start
data: {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "toolu_1", \
"name": "Bash", "input": {}}}

event: content_block_delta
data: {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ""}}

event: content_block_delta
data: {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", \
"partial_json": "{\\"command\\": \\"ls\\"}"}}

event: content_block_stop
data: {"type": "content_block_stop", "index": 1}

event: message_delta
data: {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": \
{"input_tokens": 10, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 20, "cache_creation": \
{"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}, "output_tokens": 7}}

event: message_stop
data: {"type": "message_stop"}

"""


def test_the_stream_byte_by_byte() -> None:
    assert b"".join(event.encode() for event in wire.events(ANSWER)).decode() == STREAM


def test_the_whole_message() -> None:
    assert wire.message(ANSWER) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 20,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
            "output_tokens": 7,
            "service_tier": "standard",
        },
    }


@pytest.mark.parametrize("text", ["plain words", "  indented\n\n\tlines \n", "\n", "ünï©ode → 漢字"])
def test_deltas_add_up_to_the_text(text: str) -> None:
    answer = Answer("msg_1", "m", (Text(text),), "end_turn", Usage())
    deltas = [event.data["delta"] for event in wire.events(answer) if event.data["type"] == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas if isinstance(delta, dict)) == text


def test_errors() -> None:
    assert wire.error("overloaded_error", "Overloaded", "req_1") == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, {"x-should-retry": "false"}),
        (401, {"x-should-retry": "false"}),
        (429, {"x-should-retry": "true", "retry-after": "1"}),
        (529, {"x-should-retry": "true"}),
    ],
)
def test_errors_say_whether_to_try_again(status: int, headers: dict[str, str]) -> None:
    assert wire.error_headers(status) == headers


def test_every_answer_carries_rate_limits() -> None:
    headers = wire.headers("req_1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert headers["request-id"] == "req_1"
    assert headers["anthropic-ratelimit-output-tokens-limit"] == "400000"
    assert headers["anthropic-ratelimit-output-tokens-reset"] == "2026-01-02T03:04:05Z"
    assert len(headers) == 2 + 4 * 3
