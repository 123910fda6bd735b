"""What the real CLI sends, as the runner starts it.

    python -m tests.egress.real_cli

records it anew into cli_requests.json, from which a test replays it: structurally complete, with texts cut short.
"""

import argparse
import asyncio
import base64
import json
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_agent_sdk import ClaudeSDKClient, ResultMessage

from agentsession_runner.options import sdk_options
from devcluster.scripted.record import Record
from devcluster.scripted.server import running
from tests.runner.harness import options, prepared

RECORDED = Path(__file__).with_name("cli_requests.json")
KEPT_TEXT = 70
KEPT_TOOLS = ("Agent", "Bash", "DeferredToolPlaceholder", "Read", "StructuredOutput")
PATIENCE = 60.0

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
PDF = """%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj
trailer<</Root 1 0 R>>
%%EOF"""
TOOLS = ["Agent", "Bash", "Edit", "Glob", "Grep", "Read", "Write"]
REVIEWER = {"reviewer": {"description": "Reviews.", "prompt": "You review.", "tools": ["Read"]}}
SCHEMA = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}


@dataclass(frozen=True)
class Case:
    """One conversation; WORK in a prompt is the agent's folder."""

    prompts: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "tools": Case(
        (
            '[[say: I look.]] [[tool: Bash {"command": "echo 1"}]] [[also: Bash {"command": "false"}]] [[say: So.]]',
            '[[tool: Read {"file_path": "WORK/a.png"}]] [[also: Read {"file_path": "WORK/a.pdf"}]] [[say: So.]]',
            "Once more. [[cut: times=1]] [[say: So.]]",
        )
    ),
    "subagent": Case(
        ('[[tool: Agent {"description": "x", "prompt": "[[say: Fine.]]", "subagent_type": "reviewer"}]] [[say: So.]]',),
        {"subagents": REVIEWER, "effort": "max"},
    ),
    "structured": Case(('[[tool: StructuredOutput {"url": "b"}]] [[say: So.]]',), {"output_schema": SCHEMA}),
    "deferred tools": Case(("[[say: So.]]",), {"tools": [*TOOLS, "ToolSearch", "NotebookEdit"]}),
    "older model": Case(("[[say: So.]]",), {"model": "claude-haiku-4-5"}),
    "newest model": Case(("[[say: So.]]",), {"model": "claude-opus-5-5"}),
    "long context": Case(("[[say: So.]]",), {"model": "claude-opus-4-6[1m]"}),
}


async def converse(case: Case, url: str, token: str, root: Path) -> list[ResultMessage]:
    """Have the conversation with the Messages API at `url`."""
    layout = prepared(root)
    layout.identity_token.write_text(token)
    (layout.work / "a.png").write_bytes(base64.b64decode(PNG))
    (layout.work / "a.pdf").write_text(PDF)
    agent = options(**{"tools": TOOLS, "allowed_tools": ["Agent", "Bash", "Read"], **case.options})
    results = []
    async with ClaudeSDKClient(sdk_options(agent, layout, url, str(uuid.uuid4()))) as client, asyncio.timeout(PATIENCE):
        for prompt in case.prompts:
            await client.query(prompt.replace("WORK", str(layout.work)))
            results += [message async for message in client.receive_response() if isinstance(message, ResultMessage)]
    return results


def short(value: Any) -> Any:
    """The same structure with each text cut short."""
    match value:
        case str():
            return value[:KEPT_TEXT]
        case list():
            return [short(item) for item in value]
        case dict():
            return {key: short(item) for key, item in value.items()}
        case _:
            return value


def recorded(name: str, record: Record) -> dict[str, Any]:
    """What the fixture keeps of a request: all but credentials and what belongs to the one connection."""
    body = json.loads(record.body)
    body["tools"] = [tool for tool in body["tools"] if tool["name"] in KEPT_TOOLS]
    dropped = ("authorization", "x-api-key", "host", "content-length")
    headers = [(key, value) for key, value in record.headers if key.lower() not in dropped]
    query = f"?{record.query}" if record.query else ""
    return {"case": name, "path": record.path + query, "headers": headers, "body": short(body)}


async def record_all() -> None:
    """Write the fixture."""
    requests = []
    for name, case in CASES.items():
        async with running() as model:
            with tempfile.TemporaryDirectory() as root:
                results = await converse(case, model.url, "identity", Path(root))
            requests += [recorded(name, record) for record in model.records.records()]
        print(f"{name}: {len(results)} turns, {sum(each.is_error for each in results)} failed")
    RECORDED.write_text(json.dumps(requests, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(requests)} requests in {RECORDED}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    asyncio.run(record_all())
