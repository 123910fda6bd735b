"""JSON Schemas for kubeconform: of the Kubernetes that devcluster pins, from its Go module, and of our own kinds.

Strict: an object with known properties admits no other, which is how a misspelt field is found.
"""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agentsession.api.schema import crds
from devcluster import binaries

Schema = dict[str, Any]

LOCATION = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
GVK = "x-kubernetes-group-version-kind"
AMOUNT = {"type": ["string", "number"]}
NOT_STRINGS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": AMOUNT,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": AMOUNT,
}
"""What the description calls a string and the API server also takes as a number."""


def write(folder: Path) -> None:
    """One file per kind, named as LOCATION says."""
    for name, schema in (*_of_kubernetes(), *_of_ours()):
        (folder / name).write_text(json.dumps(schema))


def _of_kubernetes() -> Iterable[tuple[str, Schema]]:
    definitions: dict[str, Schema] = json.loads(_api_description().read_text())["definitions"]
    strict = {name: NOT_STRINGS.get(name) or _strict(schema) for name, schema in definitions.items()}
    for name, schema in definitions.items():
        for gvk in schema.get(GVK, []) if "properties" in schema else []:
            root = {"$ref": f"#/definitions/{name}"}
            yield (
                _file_name(gvk["group"], gvk["version"], gvk["kind"]),
                {**root, "definitions": _reachable(root, strict)},
            )


def _of_ours() -> Iterable[tuple[str, Schema]]:
    for crd in crds():
        spec = crd["spec"]
        for version in spec["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            yield _file_name(spec["group"], version["name"], spec["names"]["kind"]), schema


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    # Under "properties" every key is a field's name, "properties" and "type" included.
    strict = {
        key: {name: _strict(child) for name, child in value.items()} if key == "properties" else _strict(value)
        for key, value in node.items()
    }
    if "properties" in node and "additionalProperties" not in node:
        strict["additionalProperties"] = False
    return strict


def _reachable(root: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    todo = _references(root)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = definitions[name]
            todo |= _references(definitions[name])
    return found


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_references, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    if isinstance(node.get("$ref"), str):
        return {node["$ref"].removeprefix("#/definitions/")}
    return _references(list(node.values()))


def _file_name(group: str, version: str, kind: str) -> str:
    # As kubeconform's KindSuffix: of the group only what stands before the first dot.
    suffix = "-".join(part for part in (group.partition(".")[0], version) if part)
    return f"{kind}-{suffix}.json".lower()


def _api_description() -> Path:
    asked = subprocess.run(
        ["go", "mod", "download", "-json", "k8s.io/kubernetes"],
        cwd=binaries.GO_MODULES / "kubernetes",
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(json.loads(asked.stdout)["Dir"]) / "api" / "openapi-spec" / "swagger.json"
