"""Logs as JSON lines on standard error: time, level, logger, message, what was given as `extra`, and whose work it is.

`session` is the uid of the AgentSession in the lines of operator, egress plane and runner alike: one search finds all.
The control side imports this module as it does protocol.py; a runner imports nothing of the control side.
"""

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

_PLAIN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}

_always: dict[str, str] = {}
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039  never changed, only replaced


def about(**fields: str) -> None:
    """Put `fields` into every later line of this task, and of tasks that it makes, until it is called again."""
    _about.set(fields)


def always(**fields: str) -> None:
    """Put `fields` into every later line of this process."""
    _always.update(fields)


def configure() -> None:
    """Send every logger's records to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def timestamp() -> str:
    """Now, RFC 3339 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class JsonLines(logging.Formatter):
    """One record, one line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": timestamp(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_always,
            **_about.get(),
            **{key: value for key, value in vars(record).items() if key not in _PLAIN and isinstance(value, str | int)},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
