"""What a patch makes of an object: the kinds that the control side sends."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentsession.kube.objects import KubeObject

from .objects import StatusError

JSON, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
MISSING = object()


def merged(obj: KubeObject, patch: KubeObject) -> KubeObject:
    """RFC 7386."""
    made = dict(obj)
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        elif isinstance(value, dict):
            made[name] = merged(known if isinstance(known := made.get(name), dict) else {}, value)
        else:
            made[name] = value
    return made


def applied(obj: KubeObject, body: KubeObject) -> KubeObject:
    """By the one manager that applies, so what it leaves out is dropped."""
    return {**obj, **body, "metadata": merged(obj["metadata"], body["metadata"])}


def patched(obj: KubeObject, operations: Sequence[Mapping[str, Any]]) -> KubeObject:
    """RFC 6902: test, add and replace, all or nothing. Raises StatusError 422, as for a test that fails."""
    made = json.loads(json.dumps(obj))
    for step in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        where = made
        for part in way:
            where = _at(where, part)
        known = _at(where, last)
        if step["op"] == "test" and known != step["value"]:
            raise StatusError(422, "Invalid", f"testing value {step['path']} failed")
        if not isinstance(where, dict):  # what is not there can be replaced: the library in the server allows that
            raise StatusError(422, "Invalid", f"{step['op']} operation does not apply: {step['path']}")
        if step["op"] != "test":
            where[last] = step["value"]
    return dict(made)


def _at(where: Any, part: str) -> Any:
    if isinstance(where, list) and part.isdecimal() and int(part) < len(where):
        return where[int(part)]
    return where.get(part, MISSING) if isinstance(where, dict) else MISSING
