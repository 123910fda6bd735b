"""The pages for people say only what is so: manifests, fields, reasons, targets, files."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool
from agentsession.api.schema import crds
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from tests.chart.helm import one, render, values_of
from tests.docs.pages import GUIDES, PAGES, README, ROOT, Page

pytestmark = pytest.mark.unit

KINDS = {"AgentPool": AgentPool, "AgentSession": AgentSession, "AgentTenant": AgentTenant}
FOREIGN = {"ConfigMap"}
pages = pytest.mark.parametrize("page", [Page(path) for path in PAGES], ids=lambda page: page.name)


def test_every_manifest_is_one_of_our_models() -> None:
    shown = [document for page in GUIDES for document in page.documents()]
    assert {document["kind"] for document in shown if "kind" in document} == KINDS.keys() | FOREIGN
    for document in shown:
        if model := KINDS.get(document.get("kind", "")):
            model.model_validate(document)


def test_the_values_render_and_say_what_is_said_of_them() -> None:
    (values,) = [document for document in Page(README).documents() if "kind" not in document]
    rendered = render(values)
    (tenant,) = [AgentTenant.model_validate(made) for made in rendered if made["kind"] == "AgentTenant"]
    assert tenant.metadata.name == "default"
    written = one(rendered, "ConfigMap", "agentsession-installation")["data"]["installation.yaml"]
    assert Installation.model_validate(yaml.safe_load(written)).runner.image == "REPO/runner:dev"


def fields(schema: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Every field of a schema, as a path; lists are looked through."""
    inner = schema.get("items", schema)
    found = {path} if path else set()
    for name, child in inner.get("properties", {}).items():
        found |= fields(child, (*path, name))
    return found


def keys(values: object, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = {path} if path else set()
    for name, child in values.items() if isinstance(values, dict) else ():
        found |= keys(child, (*path, name))
    return found


def known_fields() -> set[tuple[str, ...]]:
    """The fields of both kinds, from the object, from its spec and from its status; and the chart's values."""
    found = keys(values_of("default"))
    for crd in crds():
        whole = fields(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        found |= whole | {path[1:] for path in whole}
    return found


FIELD = re.compile(r"[a-z][A-Za-z]+(?:\.[a-z][A-Za-z]+)+")
FILES = {".md", ".py", ".yaml", ".json", ".toml", ".txt"}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_field_is_in_the_crds_or_the_values(page: Page) -> None:
    told = {word for word in page.code() if FIELD.fullmatch(word) and Path(word).suffix not in FILES}
    assert told, "fields are not found any more"
    known = {".".join(path) for path in known_fields()}
    assert told - known == set()


@pages
def test_every_target_is_in_the_makefile(page: Page) -> None:
    commands = [*page.code(), *"\n".join(page.blocks("sh", "console")).splitlines()]
    told = {found[1] for command in commands if (found := re.match(r"make ([a-z][a-z-]*)", command.strip()))}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert told - targets == set()


NOT_OURS = ("agentsession.io/", "kubernetes.io/", "REPO/", "~/", "/")


@pages
def test_every_file_is_there(page: Page) -> None:
    told = {word for word in page.code() if re.fullmatch(r"[\w.-]*/[\w./-]*", word) and not word.startswith(NOT_OURS)}
    tops = tuple(f"{entry.name}/" for entry in ROOT.iterdir() if entry.is_dir())
    told |= {word for block in page.blocks("sh") for word in block.split() if word.startswith(tops)}
    assert [path for path in sorted(told) if not (ROOT / path).exists()] == []
    assert [link for link in page.links() if not (page.path.parent / link).exists()] == []


def test_every_decision_is_listed() -> None:
    index = ROOT / "docs" / "decisions" / "README.md"
    others = {path.name for path in index.parent.glob("*.md")} - {index.name}
    assert set(Page(index).links()) == others
