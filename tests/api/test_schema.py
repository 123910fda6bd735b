"""Models become structural schemas; what has no structural form is noticed here, not in a cluster."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from agentsession.api.schema import SchemaError, crds, structural

pytestmark = pytest.mark.unit


class Inner(BaseModel):
    """An inner thing."""

    size: int = Field(default=1, ge=0, description="How large.")


class Good(BaseModel):
    """All that the models use."""

    inner: Inner = Field(default_factory=Inner, json_schema_extra={"default": {}}, description="Inside.")
    maybe: Inner | None = None
    names: list[str] = Field(default=[], max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"})
    one: Literal["only"] = "only"


def test_references_optionals_and_constants_are_translated() -> None:
    assert structural(Good) == {
        "type": "object",
        "description": "All that the models use.",
        "properties": {
            "inner": {
                "type": "object",
                "description": "Inside.",
                "default": {},
                "properties": {"size": {"type": "integer", "description": "How large.", "default": 1, "minimum": 0}},
            },
            "maybe": {
                "type": "object",
                "description": "An inner thing.",
                "properties": {"size": {"type": "integer", "description": "How large.", "default": 1, "minimum": 0}},
            },
            "names": {
                "type": "array",
                "default": [],
                "maxItems": 2,
                "items": {"type": "string"},
                "x-kubernetes-list-type": "set",
            },
            "one": {"type": "string", "default": "only", "enum": ["only"]},
        },
    }


class Union(BaseModel):
    both: int | str


class FreeForm(BaseModel):
    anything: dict[str, Any]


class Exclusive(BaseModel):
    number: int = Field(gt=0)


class Bare(BaseModel):
    text: str = Field(pattern="^a$")


@pytest.mark.parametrize(
    ("model", "where"), [(Union, "Union.both"), (FreeForm, "anything"), (Exclusive, "number"), (Bare, "text")]
)
def test_what_has_no_structural_form_is_an_error_that_says_where(model: type[BaseModel], where: str) -> None:
    with pytest.raises(SchemaError, match=where):
        structural(model)


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


SPECS = [
    (
        f"{crd['spec']['names']['kind']}.spec",
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"],
    )
    for crd in crds()
]


@pytest.mark.parametrize(("path", "spec"), SPECS)
def test_every_string_and_list_of_a_spec_is_bounded(path: str, spec: dict[str, Any]) -> None:
    for where, node in nodes(spec, path):
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, where
        if node.get("type") == "array":
            assert "maxItems" in node, where
            assert "x-kubernetes-list-type" in node or node["items"]["type"] == "string", where


@pytest.mark.parametrize(("path", "spec"), SPECS)
def test_a_refusal_never_shows_a_bare_expression(path: str, spec: dict[str, Any]) -> None:
    for where, node in nodes(spec, path):
        assert "pattern" not in node, where
        assert all(stated["message"] for stated in node.get("x-kubernetes-validations", [])), where


@pytest.mark.parametrize(("path", "spec"), SPECS)
def test_every_field_of_a_spec_is_described(path: str, spec: dict[str, Any]) -> None:
    undescribed = [where for where, node in nodes(spec, path) if "description" not in node and not where.endswith("[]")]
    assert [where for where in undescribed if not where.endswith(".name")] == []


def test_a_status_fills_nothing_in_but_that_it_is_not_there_yet() -> None:
    for crd in crds():
        status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
        assert status.pop("default") == {"observedGeneration": -1}
        assert [where for where, node in nodes(status, "status") if "default" in node] == []
