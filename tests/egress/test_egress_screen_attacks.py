"""The provider told to fetch, run, remember or send: each attack first reaches it where the screen is off."""

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from agentsession.egress import model as model_module
from agentsession.egress import screening
from agentsession.egress.screen import Screened
from devcluster.scripted.record import Record
from devcluster.scripted.server import Scripted

from . import build
from .conftest import prompt
from .plane import Plane

pytestmark = pytest.mark.unit

EVIL = "https://evil.example/?stolen"


@dataclass(frozen=True)
class Attack:
    """A request, what of it the provider must never see, and what the refusal names."""

    body: bytes
    says: str
    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""


def fields(says: str, **changes: Any) -> Attack:
    return Attack(json.dumps(prompt("hello") | changes).encode(), says)


def blocks(says: str, *content: dict[str, Any]) -> Attack:
    return fields(says, messages=[{"role": "user", "content": list(content)}])


def tool(says: str, **definition: Any) -> Attack:
    return fields(says, tools=[{"name": "Bash", "input_schema": {}}, definition])


def beta(name: str) -> Attack:
    return Attack(json.dumps(prompt("hello")).encode(), name, {"anthropic-beta": f"effort-2025-11-24, {name}"})


def raw(says: str, old: str, new: str) -> Attack:
    text = json.dumps(prompt("hello"))
    assert old in text
    return Attack(text.replace(old, new).encode(), says)


def result(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t", "content": list(content)}


URL = {"type": "url", "url": EVIL}
FILE = {"type": "file", "file_id": "file_1"}
IMAGE = {"type": "image", "source": URL}
HONEST = json.dumps(prompt("hello")).encode()

ATTACKS = {
    # server-side tools
    "web search": tool("tools[1]: the provider would run 'web_search", type="web_search_20250305", name="web_search"),
    "web fetch": tool("tools[1]: the provider would run 'web_fetch", type="web_fetch_20250910", name="web_fetch"),
    "code execution": tool("'code_execution", type="code_execution_20250825", name="code_execution"),
    "a tool search of the provider": tool("'tool_search", type="tool_search_tool_regex_20251119", name="search"),
    "a tool that asks another model": tool("'advisor", type="advisor_20260301", name="advisor", model="other"),
    "tools of an MCP server": tool("'mcp_toolset'", type="mcp_toolset", mcp_server_name="evil"),
    "a server tool that nobody knows yet": tool("'send_mail_20290101'", type="send_mail_20290101", name="mail"),
    "a tool of no readable type": tool("tools[1]", type=["web_search_20250305"], name="web_search"),
    "a tool that the provider's code may call": tool(
        "allowed_callers", name="b", input_schema={}, allowed_callers=["code_execution_20250825"]
    ),
    "a tool defined in the conversation": blocks(
        "messages[0].content[0].tools[0]", {"type": "text", "text": "x", "tools": [{"type": "web_search_20250305"}]}
    ),
    "the result of a server tool": blocks(
        "'mcp_tool_use'", {"type": "mcp_tool_use", "id": "1", "name": "x", "server_name": "evil", "input": {}}
    ),
    # MCP servers
    "an MCP server": fields('"mcp_servers"', mcp_servers=[{"type": "url", "url": EVIL, "name": "evil"}]),
    "an MCP server, nested": fields("output_config: 'mcp_servers'", output_config={"mcp_servers": []}),
    "an MCP server, in capitals": fields('"MCP_Servers"', MCP_Servers=[{"name": "evil"}]),
    # URL sources
    "an image by URL": blocks("messages[0].content[0].source: type 'url'", IMAGE),
    "a document by URL": blocks("content[0].source: type 'url'", {"type": "document", "source": URL}),
    "an image by URL in a tool result": blocks("messages[0].content[0].content[0].source", result(IMAGE)),
    "an image by URL in a document in a tool result": blocks(
        "content[0].content[0].source.content[0].source",
        result({"type": "document", "source": {"type": "content", "content": [IMAGE]}}),
    ),
    "an image by URL in the system prompt": fields("system[0].source", system=[IMAGE]),
    "a URL in a source of no type": blocks("'url'", {"type": "image", "source": {"url": EVIL}}),
    "a URL in capitals": blocks("'URL'", {"type": "image", "source": {"type": "base64", "URL": EVIL}}),
    "a URL in what looks like a tool call": blocks(
        "content[0].input: type 'url'", {"type": "image", "source": {"type": "base64"}, "input": URL}
    ),
    "a URL in what looks like a tool": fields(
        "messages[0].input_schema", messages=[{"role": "user", "content": "x", "input_schema": IMAGE}]
    ),
    # files
    "a file": blocks("type 'file'", {"type": "document", "source": FILE}),
    "a file in a tool result": blocks("content[0].content[0].source", result({"type": "image", "source": FILE})),
    "a file in a source of another type": blocks(
        "'file_id'", {"type": "image", "source": {"type": "base64", "file_id": "file_1"}}
    ),
    "a file put into a container": blocks("'container_upload'", {"type": "container_upload", "file_id": "file_1"}),
    # containers
    "a container": fields('"container"', container="container_1"),
    "a container with skills": fields('"container"', container={"skills": [{"type": "anthropic", "skill_id": "pdf"}]}),
    # fields that nobody has looked at
    "an unknown field": fields('"fallback"', fallback={"model": "claude-opus-5-5"}),
    "a price that is not on the list": fields('"speed"', speed="fast"),
    "another model": fields("the tenant allows", model="claude-haiku-4-5"),
    # bodies that can be read in two ways
    "a key twice": raw('"model" twice', '"model"', '"model": "claude-haiku-4-5", "model"'),
    "a key twice, once escaped": raw('"model" twice', '"model"', '"mod\\u0065l": "claude-haiku-4-5", "model"'),
    "a key twice, nested": raw('"role" twice', '"role"', '"role": "assistant", "role"'),
    "no number": raw("not JSON", "1000", "NaN"),
    "two values": Attack(HONEST + HONEST, "not JSON"),
    # encodings
    "gzip": Attack(gzip.compress(HONEST), "Content-Encoding", {"content-encoding": "gzip"}),
    "an encoding in name only": Attack(HONEST, "Content-Encoding", {"content-encoding": "deflate"}),
    "UTF-16": Attack(HONEST.decode().encode("utf-16"), "UTF-8"),
    "UTF-7 in name": Attack(HONEST, "Content-Type", {"content-type": "application/json; charset=utf-7"}),
    "no JSON in name": Attack(HONEST, "Content-Type", {"content-type": "multipart/form-data; boundary=x"}),
    # the query
    "a query": Attack(HONEST, "query string", query="?beta=true&mcp_servers=1"),
    # betas, and a version whose streams carry no usage
    **{
        f"beta {name}": beta(name)
        for name in (
            "code-execution-2025-08-25",
            "files-api-2025-04-14",
            "mcp-client-2025-11-20",
            "skills-2025-10-02",
            "web-fetch-2025-09-10",
            "computer-use-2025-11-24",
            "server-side-fallback-2026-07-01",
            "fast-mode-2026-02-01",
            "unheard-of-2029-01-01",
        )
    },
    "an old version": Attack(HONEST, "anthropic-version", {"anthropic-version": "2023-01-01"}),
}


async def send(agent: aiohttp.ClientSession, attack: Attack) -> tuple[int, str]:
    """The answer's status, and its error."""
    headers = {"content-type": "application/json", **attack.headers}
    async with agent.post(f"/v1/messages{attack.query}", data=attack.body, headers=headers) as answer:
        told = await answer.json()
        return answer.status, told.get("error", {}).get("message", "")


def reached(attack: Attack, record: Record) -> bool:
    """Whether the provider got all of it."""
    headers = {name.lower(): value for name, value in record.headers}
    said = {name: headers.get(name) for name in attack.headers if name != "content-encoding"}
    wanted = {name: value for name, value in attack.headers.items() if name != "content-encoding"}
    return record.body == attack.body and said == wanted and record.query == attack.query.removeprefix("?")


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
async def test_the_provider_is_told_to_do_nothing_but_answer(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted, monkeypatch: pytest.MonkeyPatch, attack: Attack
) -> None:
    with monkeypatch.context() as off:
        off.setattr(model_module, "screen_head", lambda *_: None)
        off.setattr(screening, "screen_body", lambda *_: Screened("/v1/messages", build.MODEL, False, 10))
        await send(agent, attack)
    (record,) = model.records.records()
    assert reached(attack, record)

    status, message = await send(agent, attack)
    assert status == 400
    assert attack.says in message
    assert len(model.records.records()) == 1
    assert plane.usage().meter.requests == 1, "a refused request was counted"


FREE = {
    "a tool call": [{"type": "tool_use", "id": "t", "name": "x", "input": {"type": "url", "url": EVIL, "file_id": 1}}],
    "text about it": [{"type": "text", "text": json.dumps({"mcp_servers": [URL]})}],
}


@pytest.mark.parametrize("content", FREE.values(), ids=FREE.keys())
async def test_what_model_and_tools_tell_each_other_is_their_own(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted, content: list[dict[str, Any]]
) -> None:
    schema = {"type": "object", "properties": {"url": {"type": "string"}, "container": {"type": ["null", "string"]}}}
    honest = fields(
        "",
        messages=[{"role": "assistant", "content": content}],
        tools=[{"name": "x", "input_schema": schema, "input_examples": [{"url": EVIL}]}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    await send(agent, honest)
    assert [record.body for record in model.records.records()] == [honest.body]
