"""The page for operators and the code name the same metrics."""

import re

import pytest
from prometheus_client import REGISTRY

from agentsession import main
from agentsession.egress import process

from .pages import ROOT, Page

pytestmark = pytest.mark.unit
assert main  # their imports declare all metrics
assert process

WHEN_RUN = {"agentsession_sessions"}
"""Counted by a collector that only the process itself registers."""


def test_every_metric_is_explained() -> None:
    rows = Page(ROOT / "docs" / "operations.md").table("## Metrics")
    explained = {match[1] for row in rows if (match := re.fullmatch(r"`(\w+)`", row[0]))}
    declared = {family.name for family in REGISTRY.collect() if family.name.startswith("agentsession")}
    assert explained == declared | WHEN_RUN
