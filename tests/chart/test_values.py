"""The values: all of them do something, all are known to the schema, and a wrong one is refused with its place."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.helm import CHART, Values, helm, template, values_of

pytestmark = pytest.mark.unit

Path = tuple[str | int, ...]


def merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: merged(base.get(key), over[key]) if key in over else base[key] for key in {**base, **over}}
    return over


ALL = merged(values_of("default"), values_of("everything"))


def leaves(node: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(child, (*path, key))
    else:
        yield path


def changed(values: Values, path: Path) -> Values:
    """The values with one leaf made different; the schema is not asked."""
    result = copy.deepcopy(values)
    parent: Any = result
    for key in path[:-1]:
        parent = parent[key]
    old = parent[path[-1]]
    match old:
        case bool():
            parent[path[-1]] = not old
        case int() | float():
            parent[path[-1]] = old + 1
        case _:
            parent[path[-1]] = f"{old}x"
    return result


@pytest.fixture(scope="module")
def baseline() -> str:
    return template(ALL).stdout


@pytest.mark.parametrize("path", list(leaves(ALL)), ids=lambda path: ".".join(map(str, path)))
def test_every_value_is_used(path: Path, baseline: str) -> None:
    done = template(changed(ALL, path), "--skip-schema-validation")
    assert done.stdout != baseline


def schema_paths(node: dict[str, Any], definitions: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    if "$ref" in node:
        node = definitions[node["$ref"].removeprefix("#/definitions/")]
    if "items" in node:
        yield from schema_paths(node["items"], definitions, (*path, 0))
    elif "properties" in node:
        for name, child in node["properties"].items():
            yield from schema_paths(child, definitions, (*path, name))
    elif not isinstance(node.get("additionalProperties"), dict):
        yield path


def test_every_value_of_the_schema_is_tried_above() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema_paths(schema, schema["definitions"])) <= set(leaves(ALL))


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"imgae": {}}, "imgae"),
        ({"image": {"tga": "v1"}}, "tga"),
        ({"image": {"digest": "sha256:short"}}, "/image/digest"),
        ({"egress": {"replicas": 0}}, "/egress/replicas"),
        ({"runner": {"graceSeconds": 1}}, "/runner/graceSeconds"),
        ({"runner": {"resources": {"limits": {"gpu": 1}}}}, "gpu"),
        ({"upstreams": []}, "/upstreams"),
        ({"upstreams": ["https://models.example/v1"]}, "/upstreams/0"),
        ({"tenants": [{"namespace": "a"}]}, "credentialSecret"),
        ({"tenants": [{"namespace": "a", "models": ["m"], "credentialSecret": {"name": "s", "value": "k"}}]}, "value"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(wrong: Values, place: str) -> None:
    done = template(wrong)
    assert done.returncode != 0
    assert place in done.stderr


def test_a_tenants_base_url_must_be_an_upstream() -> None:
    tenant = {"namespace": "a", "models": ["m"], "credentialSecret": {"name": "s"}, "baseURL": "https://other.example"}
    assert "https://other.example of namespace a is not in upstreams" in template({"tenants": [tenant]}).stderr


def test_shards_leave_a_replica_that_stands_by() -> None:
    assert "3 shards need a leader each" in template({"operator": {"replicas": 3, "shards": 3}}).stderr
    assert template({"operator": {"replicas": 4, "shards": 3}}).returncode == 0


def test_shared_pools_need_one_leader() -> None:
    values: Values = {"operator": {"replicas": 3, "shards": 2}, "pools": {"sharedNamespaces": ["warm"]}}
    assert "operator.shards and pools.sharedNamespaces do not go together" in template(values).stderr


def test_a_release_name_that_makes_service_names_too_long_is_refused() -> None:
    assert "release name is too long" in helm("template", "a" * 51, CHART).stderr
    assert helm("template", "a" * 50, CHART).returncode == 0
