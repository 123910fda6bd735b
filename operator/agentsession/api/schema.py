"""Turns the models into CustomResourceDefinitions.

Structural schemas allow less than JSON Schema: no $ref, no type unions, no const. What the models use of pydantic's
output is translated; anything else raises SchemaError, so that a new construct is noticed here and not in a cluster.
So does a `pattern`: rules.Form says the same in words.
"""

import copy
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel

from .base import GROUP, NOT_OBSERVED, VERSION, KubeModel
from .pool import AgentPool, AgentPoolSpec, AgentPoolStatus
from .rules import rule
from .session import AgentSession, AgentSessionSpec, AgentSessionStatus
from .tenant import AgentTenant, AgentTenantSpec, AgentTenantStatus

TYPES = {"string", "integer", "number", "boolean", "object", "array"}
COPIED = (
    "type",
    "description",
    "default",
    "enum",
    "format",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)
DROPPED = {"title", "additionalProperties", "$defs"}

Schema = dict[str, Any]


class SchemaError(Exception):
    """A model uses a construct that has no structural form."""


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model. Raises SchemaError."""
    whole = model.model_json_schema(by_alias=True, mode="validation")
    return _node(whole, whole.get("$defs", {}), model.__name__)


def _status(model: type[BaseModel]) -> Schema:
    """A status says what was found, and the API server fills nothing in, but that nothing has been looked at yet.

    Else kstatus, which helm --wait and Flux judge by, would take an object that nobody has seen for a good one.
    """
    return {**_without_defaults(structural(model)), "default": {"observedGeneration": NOT_OBSERVED}}


def _without_defaults(node: Schema) -> Schema:
    out = {key: value for key, value in node.items() if key != "default"}
    if "properties" in out:
        out["properties"] = {name: _without_defaults(child) for name, child in out["properties"].items()}
    if "items" in out:
        out["items"] = _without_defaults(out["items"])
    return out


def _node(node: Schema, defs: Mapping[str, Schema], path: str) -> Schema:
    if "$ref" in node:
        definition = copy.deepcopy(defs[node["$ref"].removeprefix("#/$defs/")])  # YAML shows what is shared as an alias
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _node({**definition, **beside}, defs, path)
    if "anyOf" in node:
        branches = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
        if len(branches) != 1:
            raise SchemaError(f"{path}: a union of {len(branches)} types")
        beside = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
        return _node({**branches[0], **beside}, defs, path)
    if "const" in node:
        node = {**{key: value for key, value in node.items() if key != "const"}, "enum": [node["const"]]}
    if node.get("x-kubernetes-int-or-string"):
        return {key: value for key, value in node.items() if key in COPIED or key.startswith("x-kubernetes-")}
    if node.get("type") not in TYPES:
        raise SchemaError(f"{path}: type {node.get('type')!r}")

    out: Schema = {key: node[key] for key in COPIED if key in node}
    out.update({key: value for key, value in node.items() if key.startswith("x-kubernetes-")})
    unknown = node.keys() - set(COPIED) - DROPPED - {"properties", "items"} - out.keys()
    if unknown:
        raise SchemaError(f"{path}: {sorted(unknown)}")
    if "properties" in node:
        out["properties"] = {
            name: _node(child, defs, f"{path}.{name}") for name, child in cast(Schema, node["properties"]).items()
        }
    elif isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = _node(node["additionalProperties"], defs, f"{path}[]")
    elif node["type"] == "object" and "x-kubernetes-preserve-unknown-fields" not in node:
        raise SchemaError(f"{path}: a free-form object")
    if "items" in node:
        out["items"] = _node(node["items"], defs, f"{path}[]")
    return out


def _column(name: str, type_: str, path: str, description: str, *, wide: bool = False) -> Schema:
    return {"name": name, "type": type_, "jsonPath": path, "description": description, "priority": int(wide)}


def _crd(
    kind: type[KubeModel],
    spec: type[BaseModel],
    status: type[BaseModel],
    *,
    short_name: str,
    columns: list[Schema],
    rules: list[Schema],
    scale: Schema | None = None,
) -> Schema:
    singular = kind.__name__.lower()
    plural = f"{singular}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.__name__,
                "listKind": f"{kind.__name__}List",
                "plural": plural,
                "singular": singular,
                "shortNames": [short_name],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}, **({"scale": scale} if scale else {})},
                    "additionalPrinterColumns": columns,
                    "schema": {
                        "openAPIV3Schema": {
                            "description": (kind.__doc__ or "").strip(),
                            "type": "object",
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": structural(spec),
                                "status": _status(status),
                            },
                            "x-kubernetes-validations": rules,
                        }
                    },
                }
            ],
        },
    }


def crds() -> list[Schema]:
    """All CustomResourceDefinitions of the group, in the order of their names."""
    name_fits = rule("size(self.metadata.name) <= 63", "metadata.name is too long: 63 characters are the most")
    no_dots = rule("!self.metadata.name.contains('.')", "metadata.name has a dot: sessions could not name it")
    no_more = rule(
        "!has(self.spec.followUps) || !has(oldSelf.status) || !has(oldSelf.status.conditions) || "
        "!oldSelf.status.conditions.exists(c, c.type == 'Finished' && c.status == 'True') || "
        "(has(oldSelf.spec.followUps) && size(self.spec.followUps) == size(oldSelf.spec.followUps))",
        "the session has finished and answers no more: make a new AgentSession",
        fieldPath=".spec.followUps",
    )
    age = _column("Age", "date", ".metadata.creationTimestamp", "Time since creation.")
    ready = '.status.conditions[?(@.type=="Ready")]'
    return [
        _crd(
            AgentPool,
            AgentPoolSpec,
            AgentPoolStatus,
            short_name="agp",
            rules=[name_fits, no_dots],
            scale={
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
            columns=[
                _column("Desired", "integer", ".spec.replicas", "Runners that are to be ready."),
                _column("Ready", "integer", ".status.readyReplicas", "Runners that a session would be given now."),
                _column("Claimed", "integer", ".status.claimedReplicas", "Runners that serve a session."),
                _column(
                    "Reason", "string", '.status.conditions[?(@.type=="Available")].reason', "Whether any is ready."
                ),
                _column("Tenant", "string", ".spec.tenantRef.name", "Whose sessions claim them, if named."),
                age,
                _column("Model", "string", ".spec.template.agent.model", "Model id.", wide=True),
                _column("Revision", "string", ".status.revision", "Of the template.", wide=True),
            ],
        ),
        _crd(
            AgentSession,
            AgentSessionSpec,
            AgentSessionStatus,
            short_name="ags",
            rules=[name_fits, no_more],
            columns=[
                _column("Phase", "string", ".status.phase", "Where the session is in its life."),
                _column("Reason", "string", f"{ready}.reason", "Why it is ready, or not."),
                _column("Tenant", "string", ".spec.tenantRef.name", "Who pays."),
                _column("Turns", "integer", ".status.turnsCompleted", "Turns that ended."),
                _column("Tokens", "integer", ".status.usage.totalTokens", "Tokens served, all kinds."),
                _column("Cost", "string", ".status.usage.costUSD", "US dollars by list price."),
                age,
                _column("Model", "string", ".spec.agent.model", "Model id.", wide=True),
                _column("Pod", "string", ".status.podName", "Runner pod.", wide=True),
                _column("Message", "string", f"{ready}.message", "One line on the reason.", wide=True),
            ],
        ),
        _crd(
            AgentTenant,
            AgentTenantSpec,
            AgentTenantStatus,
            short_name="agt",
            rules=[name_fits, no_dots],
            columns=[
                _column("Ready", "string", f"{ready}.status", "Whether sessions can use it."),
                _column("Reason", "string", f"{ready}.reason", "Why it is ready, or not."),
                age,
                _column("Message", "string", f"{ready}.message", "One line on the reason.", wide=True),
            ],
        ),
    ]
