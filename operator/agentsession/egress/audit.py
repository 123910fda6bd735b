"""Audit and logs, one JSON object a line: the audit on stdout, logs on stderr. No bodies, no query strings, no keys."""

import json
import logging
import sys
from datetime import UTC, datetime

Field = str | int | float | bool | None


def audit(event: str, **fields: Field) -> None:
    """Write down that something was exchanged, decided or served."""
    sys.stdout.write(json.dumps({"time": _now(), "audit": event, **fields}) + "\n")
    sys.stdout.flush()


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Field] = {
            "time": _now(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json() -> None:
    """Send every logger's records to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
