"""An incremental parser of server-sent events that keeps each event's bytes, so that a proxy passes on what it read.

Whole events only: a stream that is cut between two events can still be ended with a well-formed one.
https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from dataclasses import dataclass

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""A server tool's result is one event, and may be a whole document."""

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE_END = re.compile(r"\r\n|\n|\r")


class SseError(Exception):
    """An event that is too large to hold."""


@dataclass(frozen=True)
class Event:
    """One event. `raw` includes the blank line that ends it; `data` is empty for comments."""

    raw: bytes
    name: str
    data: str


class SseParser:
    """Feed it bytes as they come; it gives the events that they complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events completed by `chunk`. Raises SseError."""
        self._buffer += chunk
        events: list[Event] = []
        start = 0
        while end := _BLANK_LINE.search(self._buffer, max(start, self._searched)):
            events.append(_event(bytes(self._buffer[start : end.end()])))
            start = end.end()
        del self._buffer[:start]
        self._searched = max(0, len(self._buffer) - len(b"\r\n\r"))
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise SseError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        return events

    @property
    def rest(self) -> bytes:
        """Bytes of an event that has not ended."""
        return bytes(self._buffer)


def _event(raw: bytes) -> Event:
    name, data = "", []
    for line in _LINE_END.split(raw.decode(errors="replace")):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return Event(raw, name, "\n".join(data))
