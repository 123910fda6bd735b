"""Sums over egress processes, some of which are gone."""

from datetime import timedelta

import pytest

from agentsession.api.session import AgentSessionStatus, Turn, Usage
from agentsession.sessions.usage import heard_until, merged, only_counted, uncounted

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


def _turn(begun: int, ended: int | None) -> Turn:
    """Seconds from NOW."""
    until = NOW + timedelta(seconds=ended) if ended is not None else None
    return known().model_copy(update={"started": NOW + timedelta(seconds=begun), "finished": until})


@pytest.mark.parametrize(
    ("until", "busy"),
    [
        (None, [(0, 4), (6, None)]),
        (2, [(2, 4), (6, None)]),
        (4, [(4, 4), (6, None)]),
        (5, [(6, None)]),
        (7, [(7, None)]),
    ],
)
def test_what_usage_does_not_tell_of_yet(until: int | None, busy: list[tuple[int, int | None]]) -> None:
    usage = Usage(until=NOW + timedelta(seconds=until)) if until is not None else None
    found = uncounted(usage, [_turn(0, 4), _turn(6, None)])
    assert found == [(_turn(*each).started, _turn(*each).finished) for each in busy]


def test_a_pools_runner_is_busy_from_its_claim_on() -> None:
    claimed, until = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    assert uncounted(None, [], claimed) == [(claimed, None)]
    turns = [_turn(0, 4), _turn(6, None)]
    assert uncounted(None, turns, claimed) == [(claimed, turns[0].finished), (turns[1].started, None)]
    assert uncounted(Usage(until=until), turns, claimed) == uncounted(Usage(until=until), turns)


def test_until_when_it_tells_moves_with_what_there_is_to_tell() -> None:
    """It moves with what was counted, and past the end of a turn; and never by itself."""
    times = [NOW + timedelta(seconds=seconds) for seconds in range(9)]
    running, ended = [_turn(0, None)], [_turn(0, 4)]
    assert heard_until(None, None, running, times[1]) is None
    first = heard_until(None, merged(None, [served("a", 1)]), running, times[1])
    assert first is not None
    assert first.until == times[1]
    assert heard_until(first, merged(first, [served("a", 1)]), running, times[2]) == first
    more = merged(first, [served("a", 2)])
    assert heard_until(first, more, running, None) == more
    second = heard_until(first, more, running, times[3])
    assert second is not None
    assert second.until == times[3]
    assert heard_until(second, merged(second, []), ended, times[4]) == second
    third = heard_until(second, merged(second, []), ended, times[5])
    assert third is not None
    assert (third.until, third.output_tokens) == (times[5], 2)
    assert heard_until(third, merged(third, []), ended, times[6]) == third
    assert heard_until(None, None, ended, times[5]) == Usage(until=times[5])


def test_only_counted() -> None:
    before = AgentSessionStatus(turns=[known()])
    after = before.model_copy(deep=True)
    after.usage = merged(None, [served("a", 1)])
    after.timings.first_model_request = NOW
    assert only_counted(before, after)
    after.timings.finished = NOW + timedelta(seconds=1)
    assert not only_counted(before, after)
