"""The page for operators and the code name the same conditions, reasons, Events and metrics."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from agentsession import main
from agentsession.api import conditions
from agentsession.api.schema import crds
from agentsession.egress import process
from agentsession.sessions.announce import QUIET

from . import reasons
from .pages import OPERATIONS, Page

pytestmark = pytest.mark.unit
assert main  # their imports declare all metrics
assert process

PAGE = Page(OPERATIONS)
WHEN_RUN = {"agentsession_sessions"}
"""Counted by a collector that only the process itself registers."""


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize(
    ("heading", "made"),
    [
        ("### Reasons of an AgentSession", reasons.of_sessions()),
        ("### Reasons of an AgentPool", reasons.of_pools()),
        ("### Reasons of an AgentTenant", reasons.of_tenants()),
    ],
)
def test_every_reason_is_explained_and_no_other(heading: str, made: set[str]) -> None:
    rows = PAGE.table(heading)
    assert set().union(*(named(row[0]) for row in rows)) == made
    assert {len(row) for row in rows} == {4}


def test_every_condition_is_explained_and_no_other() -> None:
    text = Path(conditions.__file__).read_text()
    types = {getattr(conditions, name) for name in re.findall(r'^([A-Z_]+) = "', text, re.MULTILINE)}
    heading = "## What each condition and Event means, and what to do"
    assert {row[0] for row in PAGE.table(heading)} == types


def test_it_says_which_reasons_make_no_event() -> None:
    sentence = re.search(r"so do `Suspended` and `NoWorkspace`\.(.*?)make no Event", PAGE.text, re.DOTALL)
    assert sentence is not None
    assert named(sentence[1]) == QUIET | {"CredentialPending"}


def test_a_removal_leaves_nothing() -> None:
    _, _, removal = PAGE.text.partition("## Remove it")
    sentence = re.search(r"kubectl delete crd (.*)", removal)
    assert sentence is not None
    assert set(sentence[1].split()) == {crd["metadata"]["name"] for crd in crds()}


def test_every_metric_is_explained() -> None:
    explained = {match[1] for row in PAGE.table("## Metrics") if (match := re.fullmatch(r"`(\w+)`", row[0]))}
    declared = {family.name for family in REGISTRY.collect() if family.name.startswith("agentsession")}
    assert explained == declared | WHEN_RUN
    told = {re.sub(r"_total$", "", name) for name in re.findall(r"\b(agentsession_[a-z_]+)", PAGE.text)}
    assert told <= explained
