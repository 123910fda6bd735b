"""The API reference for people, made from the CRDs: what the API server checks is what the page says."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]


def reference(crds: Sequence[Schema]) -> str:
    """The whole page, in Markdown: one section per kind, one table for its spec, one for its status."""
    parts = [
        "# API reference\n",
        "Every field of every kind. References stay in the namespace unless it says otherwise. A field that is not "
        "listed is refused; [sessions by example](sessions.md) shows the fields in use.\n",
    ]
    for crd in crds:
        parts += _kind(crd["spec"])
    return "\n".join(parts)


def _kind(spec: Schema) -> Iterator[str]:
    version = spec["versions"][0]
    names, schema = spec["names"], version["schema"]["openAPIV3Schema"]
    yield f"## {names['kind']}\n"
    short = ", ".join(f"`{name}`" for name in names["shortNames"])
    yield f"`{spec['group']}/{version['name']}`, short name {short}. {schema['description']}\n"
    if rules := [*_rules(schema), *_rules(schema["properties"]["spec"])]:
        yield "Refused as a whole, with these words:\n\n" + "\n".join(f"- {text}" for text in rules) + "\n"
    yield f"### {names['kind']} spec\n"
    yield _table(["Field", "Type", "Default", "What it is", "What is refused is answered with"], _spec_rows(schema))
    yield f"### {names['kind']} status\n"
    yield "Written by the operator only.\n"
    yield _table(["Field", "Type", "What it is"], _status_rows(schema))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, ["---"] * len(columns), *rows))


def _spec_rows(schema: Schema) -> Iterator[list[str]]:
    for name, node, required in _fields(schema["properties"]["spec"], "spec"):
        default = f"`{_plain(node['default'])}`" if node.get("default", {}) != {} else ""
        refused = [*_rules(node), *_rules(node.get("items", {}))]
        yield [f"`{name}`", _type(node), "required" if required else default, _about(node), _cell("; ".join(refused))]


def _status_rows(schema: Schema) -> Iterator[list[str]]:
    for name, node, _ in _fields(schema["properties"]["status"], "status"):
        yield [f"`{name}`", _type(node), _about(node)]


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    """Each field with its whole path, parents first; items of a list are `path[]`."""
    for name, node in schema.get("properties", {}).items():
        below = f"{path}.{name}"
        yield below, node, name in schema.get("required", ())
        yield from _fields(node, below)
        if "items" in node:
            yield from _fields(node["items"], f"{below}[]")


def _type(node: Schema) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "array":
        keys = node.get("x-kubernetes-list-map-keys")
        return f"list of {_type(node['items'])}" + (f", by `{keys[0]}`" if keys else "")
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    return str(node.get("format", node["type"]))


def _about(node: Schema) -> str:
    bounds = ", ".join(_bounds(node))
    parts = [str(node.get("description", "")), f"{bounds[:1].upper()}{bounds[1:]}." if bounds else ""]
    return _cell(" ".join(part for part in parts if part))


def _rules(node: Schema) -> Iterator[str]:
    for rule in node.get("x-kubernetes-validations", ()):
        yield rule["message"]


def _bounds(node: Schema) -> Iterator[str]:
    words = {
        "minimum": "at least {}",
        "maximum": "at most {}",
        "maxLength": "at most {} characters",
        "minItems": "at least {} items",
        "maxItems": "at most {} items",
        "maxProperties": "at most {} entries",
    }
    for key, text in words.items():
        if key in node:
            yield text.format(node[key])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
