"""The audit: one JSON object a line on standard output, apart from the logs. No bodies, no query strings, no keys."""

import json
import sys

from agentsession_runner.logs import timestamp

Field = str | int | float | bool | None


def audit(event: str, **fields: Field) -> None:
    """Write down that something was exchanged, decided or served."""
    sys.stdout.write(json.dumps({"time": timestamp(), "audit": event, **fields}) + "\n")
    sys.stdout.flush()
