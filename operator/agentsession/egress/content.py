"""What the content of a request may be. The lists are closed: what nobody has looked at yet is refused.

The Messages API says with `type` what a block, a source or a tool is, wherever it stands. So every object of a request
is looked at, however deeply it is nested, but for the places where the model and its tools talk to each other freely:
there `type` means whatever they like, and the provider interprets nothing.
"""

from collections.abc import Iterable

FIELDS = {
    "context_management",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
}
"""Of a request. Not among them: `mcp_servers`, `container`, and what makes the list price wrong, as `speed`."""

TYPES = {
    *("text", "image", "document", "thinking", "redacted_thinking"),
    *("tool_use", "tool_result", "tool_reference"),
    *("base64", "content"),  # sources of an image or document; "text" is one too
    *("custom", "auto", "any", "tool", "none"),  # tools, and which is to be used
    *("adaptive", "enabled", "disabled", "ephemeral", "json_schema"),
    *("clear_thinking_20251015", "clear_tool_uses_20250919", "input_tokens", "thinking_turns", "tool_uses"),
}

FORBIDDEN = {"container", "file_id", "mcp_servers", "url"}
"""Keys that make the provider fetch, run or remember something, if it should read them where no `type` is."""


Place = tuple["Place | None", str | int]
"""Where something stands in the request: in what, under which key or index. A plain tuple: there may be very many."""

TOOLS: Place = (None, "tools")


def refused_content(request: dict[str, object]) -> str:
    """What the provider must not be told, and where; empty if there is nothing."""
    waiting: list[tuple[Place | None, object]] = [(None, request)]
    while waiting:
        place, value = waiting.pop()
        free: tuple[str, ...] = ()
        if isinstance(value, dict):
            is_tool = place is not None and place[0] == TOOLS
            if problem := _problem(value, is_tool):
                return f"{_shown(place)}: {problem}"
            free = _free(value, is_tool)
        for key, item in _parts(value):
            if isinstance(item, dict | list) and key not in free:
                waiting.append(((place, key), item))
    return ""


def _parts(value: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _problem(value: dict[str, object], is_tool: bool) -> str:
    kind = value.get("type")
    if "type" in value and not (isinstance(kind, str) and kind in TYPES):
        shown = repr(kind)[:80]
        if is_tool:
            return f"the provider would run {shown}; only tools that the agent runs itself are forwarded"
        return f"type {shown} is not one that this gateway forwards; data must be in the request itself"
    for key in value:
        if key.lower() in FORBIDDEN:
            return f"{key!r} is not forwarded: the provider is told to fetch nothing, and data must be in the request"
    if is_tool and value.get("allowed_callers", ["direct"]) != ["direct"]:
        return "allowed_callers: only 'direct' is forwarded, since the provider runs no tools here"
    return ""


def _free(value: dict[str, object], is_tool: bool) -> tuple[str, ...]:
    """The keys of an object whose values mean nothing to the provider."""
    if is_tool:
        return ("input_schema", "input_examples")
    match value.get("type"):
        case "tool_use":
            return ("input",)
        case "json_schema":
            return ("schema",)
    return ()


def _shown(place: Place | None) -> str:
    parts: list[str] = []
    while place is not None:
        place, key = place
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key[:40]}")
    return "".join(reversed(parts)).removeprefix(".") or "the body"
