"""Limits and time: how a session ends, and what is left of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agentsession.api.report import SessionUsage
from agentsession.api.session import AgentSessionStatus
from agentsession.sessions.decide import POLL, decide
from agentsession.sessions.observed import Observed
from agentsession.sessions.plan import DeleteRunner, DeleteSession

from .build import INSTALL, NOW, ended_pod, known, observed, pod, runner, said, served, session
from .deciding import plan, reason

pytestmark = pytest.mark.unit


def test_a_turn_that_failed_at_the_limit_says_the_limit() -> None:
    failed = runner("Ready", said(phase="Failed", reason="API Error: 429"))
    before = AgentSessionStatus(turns=[known()])
    at_first = plan(session(before), observed(pod=pod(), runner=failed))
    assert at_first.settle_usage
    settled = plan(session(before), observed(pod=pod(), runner=failed, usage=[served(stopped="TurnLimit")]))
    assert reason(settled) == "False TurnLimitReached"


def _over(told: SessionUsage) -> AgentSessionStatus:
    """The status of a session that its wall clock has just ended."""
    before = AgentSessionStatus(turns=[known()])
    return plan(session(before), observed(pod=ended_pod("WallClockExceeded"), usage=[told])).status


def test_what_was_under_way_at_the_end_is_waited_for() -> None:
    over = _over(served(open=1))
    assert over.usage is not None
    assert [(m.settled, m.estimated) for m in over.usage.meters] == [(False, False)]
    waits = plan(session(over), observed(usage=[served(open=1)]))
    assert (waits.status, waits.requeue_after) == (over, POLL)
    billed = plan(session(over), observed(usage=[served(output=7)]))
    assert billed.status.usage is not None
    assert [(m.output_tokens, m.settled, m.estimated) for m in billed.status.usage.meters] == [(7, True, False)]
    assert billed.requeue_after is None


def test_what_was_under_way_when_its_egress_process_went_is_estimated() -> None:
    over = _over(served(open=1))
    lost = plan(session(over), observed(usage=[served(open=1)], lost_meters=frozenset(["e-1", "unseen"])))
    assert lost.status.usage is not None
    assert [(m.incarnation, m.settled, m.estimated) for m in lost.status.usage.meters] == [("e-1", True, True)]
    assert lost.requeue_after is None
    later = plan(session(lost.status), observed(lost_meters=frozenset(["e-1", "e-2"])))
    assert later.status == lost.status


def test_a_process_that_goes_after_all_is_told_takes_nothing_with_it() -> None:
    over = _over(served())
    gone = plan(session(over), observed(lost_meters=frozenset(["e-1"])))
    assert (gone.status, gone.requeue_after) == (over, None)


def test_an_image_that_is_withdrawn_does_not_touch_what_runs() -> None:
    who = session(AgentSessionStatus(turns=[known()]), runtime={"image": "withdrawn:1"})
    made = plan(who, observed(pod=pod(), runner=runner("Ready", said(phase="Running"))))
    assert reason(made) == "True Connected"
    assert reason(plan(session(runtime={"image": "withdrawn:1"}), observed()), "Stalled") == "True ImageNotAllowed"


ALONG_THE_WAY = [
    observed(pod=pod(running=False, ip=None)),
    observed(pod=pod()),
    observed(pod=pod(), runner=runner(bound=False)),
]


@pytest.mark.parametrize("seen", ALONG_THE_WAY)
def test_a_wall_clock_that_was_lowered_ends_every_step_with_a_pod(seen: Observed) -> None:
    assert plan(session(limits={"wallClock": "10m"}), seen).requeue_after == timedelta(minutes=10, seconds=-3)
    assert seen.pod is not None
    late = replace(seen, pod=replace(seen.pod, started=NOW - timedelta(seconds=10)))
    assert reason(plan(session(limits={"wallClock": "10s"}), late)) == "False WallClockExceeded"


@pytest.mark.parametrize("seen", ALONG_THE_WAY)
@pytest.mark.parametrize("jump", [timedelta(hours=-2), timedelta(hours=2)])
def test_a_clock_that_jumps_changes_nothing_in_a_session_that_runs(seen: Observed, jump: timedelta) -> None:
    status = AgentSessionStatus(turns=[known()])
    steady = decide(session(status), seen, INSTALL, NOW)
    jumped = decide(session(status), seen, INSTALL, NOW + jump)
    assert jumped.actions == steady.actions
    assert jumped.requeue_after == steady.requeue_after
    assert jumped.status.phase == steady.status.phase
    assert reason(jumped, "Finished") is None


def test_a_wall_clock_that_was_over_before_the_first_turn_is_over() -> None:
    """As in a Job: whoever never lets its runner connect would otherwise have it made anew for ever."""
    made = plan(session(), observed(pod=ended_pod("WallClockExceeded")))
    assert reason(made) == "False WallClockExceeded"


def test_a_finished_session_loses_its_runner_and_then_itself() -> None:
    done = plan(session(), observed(pod=pod(), runner=runner("Ready", said()))).status
    with_ttl = session(done, ttlSecondsAfterFinished=0)
    going = plan(with_ttl, observed(pod=pod()))
    assert going.actions == [DeleteRunner(("n", "s-11111111"), "p-1")]
    assert going.requeue_after is None, "the pod would be deleted in a busy loop, until the watch tells of it"
    assert plan(with_ttl, observed()).actions == [DeleteSession()]
    kept = plan(session(done), observed())
    assert (kept.actions, kept.requeue_after) == ([], None)
    assert kept.status == done


def test_usage_that_comes_late_still_counts() -> None:
    done = plan(session(), observed(pod=pod(), runner=runner("Ready", said()), usage=[served(output=1)])).status
    late = plan(session(done), observed(usage=[served(output=3)])).status
    assert late.usage is not None
    assert late.usage.output_tokens == 3
    assert late.phase == "Succeeded"


def test_what_a_vanished_egress_process_served_is_an_estimate() -> None:
    before = plan(session(), observed(pod=pod(), runner=runner("Ready"), usage=[served("e-1", 5)])).status
    seen = observed(pod=pod(), runner=runner("Ready"), usage=[served("e-2", 2)], lost_meters=frozenset({"e-1"}))
    after = plan(session(before), seen).status
    assert after.usage is not None
    assert (after.usage.output_tokens, after.usage.estimated, after.usage.cost_usd) == (7, True, "0.20")
