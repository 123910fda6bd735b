"""What the server was sent and what it served, for assertions; the oldest requests are dropped first."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Literal

from devcluster.scripted.wire import JSON, Usage

MAX_REQUESTS = 2_000
MAX_BYTES = 64 << 20
MAX_SUMS = 10_000
NOTHING = Usage()
Outcome = Literal["open", "completed", "aborted", "error"]  # aborted: the client went


@dataclass
class Record:
    """One request. ``usage`` is what its client can have read so far; ``error`` is why the outcome is error."""

    seq: int
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    key: str
    session: str
    client: str
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    body: bytes = b""
    status: int | None = None
    events: int = 0
    usage: Usage | None = None
    outcome: Outcome = "open"
    error: str = ""
    violation: str = ""

    def __str__(self) -> str:
        """Return the line for the log, without the key."""
        used = f"in={self.usage.input} out={self.usage.output}" if self.usage else self.error
        return f"{self.seq} {self.method} {self.path} session={self.session} {self.status} {self.outcome} {used}"

    def size(self) -> int:
        """Return about how many bytes the record holds."""
        return 1_000 + len(self.body) + sum(len(name) + len(value) for name, value in self.headers)

    def view(self, body: object) -> JSON:
        """Return the record as JSON, with ``body`` in the place of the raw bytes."""
        return {
            **{name: value for name, value in vars(self).items() if name != "body"},
            "time": self.time.isoformat(),
            "key_sha256": fingerprint(self.key),
            "usage": self.usage.wire() if self.usage else None,
            "body": body,
        }


def fingerprint(key: str) -> str:
    """Return the short name of a key: the first 12 hexadecimal digits of its SHA-256."""
    return sha256(key.encode()).hexdigest()[:12]


@dataclass
class Sum:
    requests: int = 0
    usage: Usage = NOTHING

    def view(self) -> JSON:
        return {"requests": self.requests, **self.usage.wire()}


class Recorder:
    """Bounded memory of requests, and sums of usage that outlive them."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.clear()

    def clear(self) -> None:
        """Forget requests and sums. Numbers go on, so that nothing later can be taken for something earlier."""
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._total = Sum()
        self._sessions: dict[str, Sum] = {}
        self._keys: dict[str, Sum] = {}

    def next_number(self) -> int:
        return next(self._numbers)

    def add(self, record: Record) -> None:
        self._records.append(record)
        self._bytes += record.size()
        while len(self._records) > MAX_REQUESTS or self._bytes > MAX_BYTES:
            self._bytes -= self._records.popleft().size()

    def served(self, record: Record, usage: Usage) -> None:
        """Note what the client is about to know: called before the bytes go, so that no reader is ahead of it."""
        if usage == record.usage:
            return
        before = record.usage or NOTHING
        for total in (self._total, _bounded(self._sessions, record.session), _bounded(self._keys, record.key)):
            total.requests += record.usage is None
            total.usage = Usage(*(old + new - was for old, new, was in zip(total.usage, usage, before, strict=True)))
        record.usage = usage

    def records(self, since: int = 0) -> list[Record]:
        """Return the records that are still held and have a number above ``since``, oldest first."""
        return [record for record in self._records if record.seq > since]

    def usage(self) -> JSON:
        """Return what was served: in all, per x-claude-code-session-id ("" for none) and per key."""
        return {
            "total": self._total.view(),
            "sessions": {session: total.view() for session, total in self._sessions.items()},
            "keys": {fingerprint(key): total.view() for key, total in self._keys.items()},
        }


def _bounded(sums: dict[str, Sum], name: str) -> Sum:
    if name not in sums and len(sums) >= MAX_SUMS:
        del sums[next(iter(sums))]
    return sums.setdefault(name, Sum())
