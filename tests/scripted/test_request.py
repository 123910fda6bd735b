import json

import pytest

from devcluster.scripted.request import InvalidRequest, read_request
from devcluster.scripted.wire import JSON
from tests.scripted.build import assistant, body, call, result, text, user

pytestmark = pytest.mark.unit

VERSION = "2023-06-01"
MARKED = {"cache_control": {"type": "ephemeral"}}


def _tool(name: str, **fields: object) -> JSON:
    return {"name": name, "description": "", "input_schema": {"type": "object"}} | fields


def test_a_request_with_everything_that_a_client_sends() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    sent = body(
        "",
        messages=[
            user([text("look") | MARKED]),
            {"role": "system", "content": "note"},
            assistant([thinking, call("x")]),
            user([result("x", [text("seen"), image])]),
        ],
        system=[text("be brief")],
        tools=[_tool("Bash"), _tool("Read", **MARKED)],
        stream=True,
        temperature=1,
        metadata={"user_id": "u"},
        context_management={"edits": []},
    )
    request = read_request(json.dumps(sent).encode(), VERSION, counting=False)
    assert (request.model, request.stream, len(request.messages)) == ("m", True, 4)


def test_count_tokens_needs_no_max_tokens() -> None:
    raw = json.dumps({"model": "m", "messages": [user("a")]}).encode()
    assert read_request(raw, VERSION, counting=True).max_tokens is None
    with pytest.raises(InvalidRequest, match=r"^max_tokens: Field required"):
        read_request(raw, VERSION, counting=False)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"model": None}, "model: "),
        ({"max_tokens": 0}, "max_tokens: "),
        ({"max_tokens": "100"}, "max_tokens: Input should be a valid integer"),
        ({"temperature": 2}, "temperature: "),
        ({"stream": "yes"}, "stream: "),
        ({"messages": []}, "messages: "),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: Input should be 'user', 'assistant'"),
        ({"messages": [user("")]}, "messages.0.content: "),
        ({"messages": [user([text("")])]}, "messages.0.content.0: text content blocks must be non-empty"),
        ({"messages": [user([{"type": "video"}])]}, "messages.0.content.0: 'video' is not a type of content block"),
        ({"messages": [user([{"type": "image"}])]}, "messages.0.content.0: source: Field required in a image block"),
        ({"messages": [user([result("x", [{"type": "nope"}])])]}, "messages.0.content.0.content.0: 'nope'"),
        ({"messages": [assistant("x")]}, "messages: the first message"),
        ({"tools": [_tool("a b")]}, "tools.0.name: "),
        ({"tools": [_tool("a"), _tool("a")]}, "tools: Tool names must be unique"),
        ({"tools": [_tool(str(n), **MARKED) for n in range(5)]}, "A maximum of 4 blocks with cache_control"),
    ],
)
def test_a_malformed_request_is_refused_with_the_field(fields: JSON, problem: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_request(json.dumps(body("hi", **fields)).encode(), VERSION, counting=False)
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_request(raw, VERSION, counting=False)


@pytest.mark.parametrize("version", ["", "latest"])
def test_the_version_header_is_required(version: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^anthropic-version: "):
        read_request(json.dumps(body("hi")).encode(), version, counting=False)
