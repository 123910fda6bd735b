"""What can be wrong with a value of a given schema: everything that the schema says, broken one at a time."""

import copy
from collections.abc import Iterator
from typing import Any

from .specs import Field, Schema

UNKNOWN = "notAField"
_OF_ANY_TYPE: list[Any] = [7, 1.5, True, "text", "5", "true", [], ["text"], {}, {"a": "b"}]
_TYPES = {"string": str, "boolean": bool, "array": list, "object": dict}


def mistakes(field: Field) -> Iterator[tuple[str, str, Any]]:
    """(what, path that the refusal must name, the wrong spec), for every way in which this field can be wrong."""
    schema = field.schema
    for value in _OF_ANY_TYPE:
        if not _has_type(value, schema):
            yield f"type {value!r}", field.path, field.with_value(value)
    yield from _bounds(field)
    if schema.get("type") == "object":
        yield from _members(field)
    if schema.get("type") == "array":
        yield from _items(field)


def _has_type(value: object, schema: Schema) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, str) or type(value) is int
    match schema["type"]:
        case "integer":
            return type(value) is int
        case other:
            return isinstance(value, _TYPES[other]) and not (other == "string" and "enum" in schema)


def _bounds(field: Field) -> Iterator[tuple[str, str, Any]]:
    schema = field.schema
    if "maxLength" in schema:
        yield "too long", field.path, field.with_value("a" * (schema["maxLength"] + 1))
        yield "too long in another script", field.path, field.with_value("é" * (schema["maxLength"] + 1))
    if schema.get("minLength"):
        yield "empty", field.path, field.with_value("")
    if "minimum" in schema:
        yield "too small", field.path, field.with_value(schema["minimum"] - 1)
    if "maximum" in schema:
        yield "too large", field.path, field.with_value(schema["maximum"] + 1)
        yield "far too large", field.path, field.with_value(2**63)
    if "enum" in schema:
        yield "none of them", field.path, field.with_value("none-of-them")
        yield "another case", field.path, field.with_value(schema["enum"][0].swapcase())


def _members(field: Field) -> Iterator[tuple[str, str, Any]]:
    schema, value = field.schema, field.value
    for name in schema.get("required", []):
        rest = {key: kept for key, kept in value.items() if key != name}
        yield f"without {name}", f"{field.path}.{name}", field.with_value(rest)
        yield f"null for {name}", f"{field.path}.{name}", field.with_value({**value, name: None})
    if "x-kubernetes-preserve-unknown-fields" not in schema:
        yield "an unknown field", f"{field.path}.{UNKNOWN}", field.with_value({**value, UNKNOWN: 1})


def _items(field: Field) -> Iterator[tuple[str, str, Any]]:
    schema, value = field.schema, field.value
    many = [_numbered(value[0], schema, number) for number in range(schema["maxItems"] + 1)]
    yield "too many", field.path, field.with_value(many)
    if schema.get("minItems"):
        yield "none", field.path, field.with_value([])
    yield "null in it", f"{field.path}[{len(value)}]", field.with_value([*value, None])
    if schema.get("x-kubernetes-list-type") in ("set", "map"):
        yield "twice the same", f"{field.path}[{len(value)}]", field.with_value([*value, copy.deepcopy(value[-1])])


def _numbered(item: Any, schema: Schema, number: int) -> Any:
    """Another item that is not the same: by its key, or as it is."""
    match item:
        case dict():
            return {**item, **dict.fromkeys(schema.get("x-kubernetes-list-map-keys", []), f"n{number}")}
        case _:
            return f"{item}{number}"
