"""Markers in a text, found and unrolled; what they mean is for script.py. Pure."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from devcluster.scripted.wire import JSON

MAX_MARKERS = 10_000
VERBS = ("say", "stream", "tool", "also", "repeat", "usage", "slow", "stop", "headers")
FAULTS = ("error", "cut", "hang", "garbage", "empty")


class ScriptError(ValueError):
    """A marker that cannot be read; the message names it and says what would be right."""


class ToolCall(NamedTuple):
    name: str
    input: JSON


class Marker(NamedTuple):
    """``[[verb: argument]]``; a call has its tool in place of the argument."""

    verb: str
    argument: str
    call: ToolCall | None = None

    def words(self) -> tuple[list[str], dict[str, str]]:
        """Split ``a b key=value key="with spaces"`` into words and options. Raises ValueError: open quotes."""
        parts = shlex.split(self.argument)
        pairs = (part.partition("=") for part in parts if "=" in part)
        return [part for part in parts if "=" not in part], {name: value for name, _, value in pairs}

    def __str__(self) -> str:
        return f"[[{self.verb}: {self.argument}]]" if self.argument else f"[[{self.verb}]]"


_OPEN = re.compile(rf"\[\[({'|'.join(VERBS + FAULTS)})(?::|(?=\]\]))")
_NAME = re.compile(r"\s*([A-Za-z0-9_-]{1,128})\s*")
_CLOSE = re.compile(r"\s*\]\]")
_COUNT = re.compile(r"\s*(\d{1,6})\b")


def markers(text: str) -> list[Marker]:
    """Return the markers of a text with repetitions unrolled; other text is skipped. Raises ScriptError."""
    return _scan(text, 0, nested=False)[0]


def _scan(text: str, at: int, *, nested: bool) -> tuple[list[Marker], int]:
    """Return the markers from ``at`` to the end of the text, or when nested to the ``]]`` that closes them."""
    found: list[Marker] = []
    while True:
        opening = _OPEN.search(text, at)
        close = text.find("]]", at)
        if nested and close >= 0 and (opening is None or close < opening.start()):
            return found, close + 2
        if opening is None:
            if nested:
                raise ScriptError("[[repeat: N ...]] is not closed by ]]")
            return found, len(text)
        verb, at = opening[1], opening.end()
        if verb in ("tool", "also"):
            marker, at = _call(verb, text, at)
            found.append(marker)
        elif verb == "repeat":
            rounds, at = _repeat(text, at)
            found.extend(rounds)
        elif (close := text.find("]]", at)) >= 0:
            found.append(Marker(verb, text[at:close].strip()))
            at = close + 2
        else:
            raise ScriptError(f"[[{verb}: ...]] is not closed by ]]")
        if len(found) > MAX_MARKERS:
            raise ScriptError(f"the script has more than {MAX_MARKERS} markers; repeat fewer times")


def _call(verb: str, text: str, at: int) -> tuple[Marker, int]:
    """Read ``NAME {JSON}]]``: the JSON is decoded in place, so it may itself contain ``]]``."""
    wanted = f'[[{verb}: ...]] needs a tool name and its input as a JSON object, such as Bash {{"command": "ls"}}'
    name = _NAME.match(text, at)
    if name is None:
        raise ScriptError(wanted)
    value: JSON = {}
    at = name.end()
    if text.startswith("{", at):
        try:
            value, at = json.JSONDecoder().raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ScriptError(f"{wanted}; at character {error.pos}: {error.msg}") from None
    end = _CLOSE.match(text, at)
    if end is None:
        raise ScriptError(f"{wanted}, then ]]")
    return Marker(verb, "", ToolCall(name[1], value)), end.end()


def _repeat(text: str, at: int) -> tuple[Iterator[Marker], int]:
    count = _COUNT.match(text, at)
    if count is None or not 1 <= int(count[1]) <= MAX_MARKERS:
        raise ScriptError(f"[[repeat: N ...]] needs N between 1 and {MAX_MARKERS}")
    inner, end = _scan(text, count.end(), nested=True)
    if len(inner) * int(count[1]) > MAX_MARKERS:
        raise ScriptError(f"the script has more than {MAX_MARKERS} markers; repeat fewer times")
    source = text[count.end() : end - 2]
    rounds = range(1, int(count[1]) + 1)
    return (marker for n in rounds for marker in markers(source.replace("{n}", str(n)))), end
