"""The corpus is whole: every rule of a spec is broken by a manifest, and the models refuse what the server does."""

from collections.abc import Iterator

import pytest
import yaml

from .corpus import Case, cases
from .specs import MODELS, SCHEMAS, Schema, admitted

pytestmark = pytest.mark.unit

BY_THE_SERVER = [*cases("refused"), *cases("changed")]
SPECS = [case for case in cases("refused") if case.at.startswith("spec") and not case.name.startswith("yaml-")]


def messages(schema: Schema) -> Iterator[str]:
    yield from (stated["message"] for stated in schema.get("x-kubernetes-validations", []))
    for child in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from messages(child)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_rule_is_broken_by_some_manifest(kind: str) -> None:
    unread = {message for message in messages(SCHEMAS[kind]) if not any(case.says in message for case in BY_THE_SERVER)}
    assert unread == set(), "add a manifest to tests/input/corpus/refused (or changed) for each"


@pytest.mark.parametrize("case", SPECS, ids=str)
def test_the_models_refuse_it_too(case: Case) -> None:
    body = yaml.safe_load(case.documents[0])
    assert body["kind"] in MODELS
    assert not admitted(body["kind"], body["spec"])


def test_there_are_enough_of_them_and_each_is_one_of_its_kind() -> None:
    found = [case for group in ("refused", "changed", "marked", "values") for case in cases(group)]
    assert len(found) > 200
    assert all(case.says for case in found)
    assert all(case.reason and case.remedy for case in cases("marked"))
