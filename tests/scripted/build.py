"""Requests and their parts, as short as a test reads best."""

from devcluster.scripted.content import Message
from devcluster.scripted.wire import JSON


def body(prompt: str, **fields: object) -> JSON:
    return {"model": "m", "max_tokens": 100, "messages": [user(prompt)]} | fields


def user(content: object) -> JSON:
    return {"role": "user", "content": content}


def assistant(content: object) -> JSON:
    return {"role": "assistant", "content": content}


def call(tool_id: str) -> JSON:
    return {"type": "tool_use", "id": tool_id, "name": "Bash", "input": {}}


def result(tool_id: str, content: object = "out") -> JSON:
    return {"type": "tool_result", "tool_use_id": tool_id, "content": content}


def text(words: str) -> JSON:
    return {"type": "text", "text": words}


def messages(*parts: JSON) -> list[Message]:
    return [Message.model_validate(part) for part in parts]
