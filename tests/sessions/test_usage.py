"""Sums over egress processes, some of which are gone."""

from datetime import timedelta

import pytest

from agentsession.api.session import AgentSessionStatus
from agentsession.sessions.usage import merged, only_counted

from .build import NOW, known, served

pytestmark = pytest.mark.unit


def test_nothing_was_served() -> None:
    assert merged(None, []) is None


def test_counters_of_several_processes_add_up_and_replace_their_older_selves() -> None:
    before = merged(None, [served("a", 1), served("b", 2)])
    after = merged(before, [served("b", 5)])
    assert after is not None
    assert [(meter.incarnation, meter.output_tokens) for meter in after.meters] == [("a", 1), ("b", 5)]
    assert (after.output_tokens, after.total_tokens, after.requests, after.cost_usd) == (6, 6, 2, "0.20")
    assert not after.estimated


def test_a_process_that_is_gone_makes_it_an_estimate_even_if_it_never_told_of_the_session() -> None:
    after = merged(merged(None, [served("a", 1)]), [], {"b", "c"})
    assert after is not None
    assert [(meter.incarnation, meter.estimated) for meter in after.meters] == [("a", False), ("unheard", True)]
    assert (after.output_tokens, after.requests, after.estimated) == (1, 1, True)


def test_what_was_estimated_once_stays_so() -> None:
    lost = merged(merged(None, [served("a", 1)]), [], {"a"})
    again = merged(lost, [served("a", 2)])
    assert again is not None
    assert (again.output_tokens, again.estimated) == (2, True)


def test_only_counted() -> None:
    before = AgentSessionStatus(turns=[known()])
    after = before.model_copy(deep=True)
    after.usage = merged(None, [served("a", 1)])
    after.timings.first_model_request = NOW
    assert only_counted(before, after)
    after.timings.finished = NOW + timedelta(seconds=1)
    assert not only_counted(before, after)
