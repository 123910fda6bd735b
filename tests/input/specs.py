"""Specs that use every field, and all the fields that there are, read from the generated CRDs."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from agentsession.api.pool import AgentPoolSpec
from agentsession.api.schema import crds
from agentsession.api.session import AgentSessionSpec
from agentsession.api.tenant import AgentTenantSpec

MODELS: dict[str, type[BaseModel]] = {
    "AgentPool": AgentPoolSpec,
    "AgentSession": AgentSessionSpec,
    "AgentTenant": AgentTenantSpec,
}
Step = str | int
Where = tuple[Step, ...]
Schema = dict[str, Any]

SCHEMAS: dict[str, Schema] = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for crd in crds()
}
_AMOUNTS = {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "5Gi"}
_AGENT: Schema = {
    "model": "m",
    "systemPrompt": "Be brief.",
    "tools": ["Agent", "Bash", "Read"],
    "allowedTools": ["Bash(ls:*)", "mcp__notes"],
    "disallowedTools": ["Bash(rm:*)"],
    "permissionMode": "dontAsk",
    "effort": "low",
    "mcpServers": [{"name": "notes", "command": "python", "args": ["-m", "notes"]}],
    "outputFormat": {"jsonSchema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    "subagents": [
        {"name": "reader", "description": "Reads.", "prompt": "Read.", "tools": ["Read"], "model": "m"}
        | {"maxTurns": 3}
    ],
}
_RUNTIME: Schema = {
    "image": "runner:1",
    "runtimeClassName": "gvisor",
    "resources": {"requests": dict(_AMOUNTS), "limits": dict(_AMOUNTS)},
}
_FULL: dict[str, Schema] = {
    "AgentPool": {
        "tenantRef": {"name": "default"},
        "template": {"agent": _AGENT, "runtime": _RUNTIME},
        "replicas": 3,
        "update": {"maxUnavailable": 2},
        "recycle": {"maxAge": "12h"},
    },
    "AgentSession": {
        "tenantRef": {"name": "default"},
        "poolRef": {"name": "warm", "namespace": "pools", "onExhausted": "Wait"},
        "lifecycle": "LongRunning",
        "prompt": "hello",
        "followUps": [{"id": "more", "prompt": "and then?"}],
        "agent": _AGENT,
        "limits": {"turns": 5, "wallClock": "1h30m"},
        "runtime": _RUNTIME,
        "ttlSecondsAfterFinished": 60,
    },
    "AgentTenant": {
        "provider": {
            "credentialSecretRef": {"name": "key", "key": "api-key"},
            "baseURL": "https://api.anthropic.com",
            "models": ["m"],
        },
        "workspace": {
            "storageClassName": "fast",
            "size": "1Gi",
            "accessMode": "ReadWriteOnce",
            "retain": "Delete",
        },
        "sessions": {"maxConcurrent": 3},
        "sharedPools": {"namespaces": ["pools"]},
    },
}
_SELECTOR: Schema = {
    "matchLabels": {"team": "a"},
    "matchExpressions": [{"key": "stage", "operator": "In", "values": ["test"]}],
}
_INSTEAD_OF = {
    ("AgentSession", "promptFrom"): ("prompt", {"configMapKeyRef": {"name": "prompts", "key": "first"}}),
    ("AgentPool", "allowedNamespaces"): ("tenantRef", {"selector": _SELECTOR}),
}


@dataclass(frozen=True)
class Field:
    """A place in a spec: in the first item of each list. `spec` is one that has it."""

    kind: str
    where: Where
    schema: Schema
    spec: Schema

    @property
    def path(self) -> str:
        """As the API server names it."""
        return "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.where)

    @property
    def value(self) -> Any:
        """What stands there."""
        found: Any = self.spec
        for step in self.where:
            found = found[step]
        return found

    def with_value(self, value: object) -> Any:
        """The spec with another value there."""
        if not self.where:
            return value
        changed = copy.deepcopy(self.spec)
        parent: Any = changed
        for step in self.where[:-1]:
            parent = parent[step]
        parent[self.where[-1]] = value
        return changed


def full(kind: str) -> Schema:
    """A spec with every field but those that exclude others. A field that this page does not know gets some value."""
    spec = copy.deepcopy(_FULL[kind])
    excluded = {field for of, field in _INSTEAD_OF if of == kind}
    for name, schema in SCHEMAS[kind]["properties"].items():
        if name not in spec and name not in excluded:
            spec[name] = _some(schema)
    return spec


def admitted(kind: str, spec: object) -> bool:
    """Whether the model takes a spec."""
    try:
        MODELS[kind].model_validate(spec)
    except ValidationError:
        return False
    return True


def fields(kind: str) -> list[Field]:
    """Every field of a kind's spec, the spec itself first."""
    found = list(_fields(kind, (), SCHEMAS[kind], full(kind)))
    for (of, name), (excluded, value) in _INSTEAD_OF.items():
        if of == kind:
            spec = {key: kept for key, kept in full(kind).items() if key != excluded} | {name: value}
            found += _fields(kind, (name,), SCHEMAS[kind]["properties"][name], spec)
    return found


def _fields(kind: str, where: Where, schema: Schema, spec: Schema) -> Iterator[Field]:
    field = Field(kind, where, schema, spec)
    yield field
    for name, child in schema.get("properties", {}).items():
        if name in field.value:
            yield from _fields(kind, (*where, name), child, spec)
    if "items" in schema:
        yield from _fields(kind, (*where, 0), schema["items"], spec)


def _some(schema: Schema) -> Any:
    if "default" in schema:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "boolean":
            return False
        case "integer":
            return schema.get("minimum", 1)
        case "string":
            return "x"
        case "array":
            return []
    return {name: _some(schema["properties"][name]) for name in schema.get("required", [])}
