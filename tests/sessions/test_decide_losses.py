"""Runners that refuse, fall silent, end early or are somebody else's."""

from datetime import timedelta

import pytest

from agentsession.api.base import is_true
from agentsession.api.session import AgentSessionStatus
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import Trouble
from agentsession.sessions.decide import decide
from agentsession.sessions.plan import DeleteRunner, Listen

from .build import INSTALL, NOW, ended_pod, known, observed, pod, runner, said, session
from .deciding import LONG_RUNNING, kinds, plan, reason

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("status", [None, AgentSessionStatus(turns=[known()])])
def test_a_runner_that_refuses_for_good_ends_the_session(status: AgentSessionStatus | None) -> None:
    for refusals, why in ((2, None), (3, "False AgentFailed")):
        made = plan(session(status), observed(pod=pod(), runner=runner(bound=False), refusals=refusals))
        assert (reason(made) if is_true(made.status.conditions, "Finished") else None) == why


def test_a_runner_that_drains_is_neither_bound_nor_asked() -> None:
    for bound in (False, True):
        made = plan(session(), observed(pod=pod(), runner=runner("Draining", bound=bound)))
        assert kinds(made) == [Listen]
        assert made.status == session().status


EVICTED = Trouble("RunnerEvicted", "the cluster ended the runner: disk")


@pytest.mark.parametrize(
    ("seen_pod", "why"),
    [
        (pod(deleting=True), "RunnerLost"),
        (pod(deleting=True, trouble=EVICTED), "RunnerEvicted"),
        (pod(deleting=True, running=False, trouble=Trouble("RunnerExited", "0")), "RunnerLost"),
        (ended_pod("RunnerEvicted"), "RunnerEvicted"),
        (ended_pod("WallClockExceeded"), "WallClockExceeded"),
    ],
)
def test_what_ended_the_runner_explains_the_end_and_not_the_turn_that_it_cut_short(seen_pod: PodView, why: str) -> None:
    cut = runner("Draining", said(phase="Failed", reason="interrupted"))
    before = AgentSessionStatus(turns=[known()])
    told = plan(session(before), observed(pod=pod(), runner=cut))
    assert told.status == before
    assert reason(plan(session(before), observed(pod=seen_pod, runner=cut)), "Finished") == f"True {why}"


def test_the_end_of_the_agent_process_explains_the_turn_that_it_cut_short() -> None:
    dead = runner("Failed", said(phase="Failed", reason="killed"), message="killed by signal 9")
    made = plan(session(AgentSessionStatus(turns=[known()])), observed(pod=pod(), runner=dead))
    assert reason(made, "Finished") == "True AgentFailed"


def test_a_container_that_has_ended_is_not_starting_anew() -> None:
    before = AgentSessionStatus(turns=[known()], phase="Running")
    ending = pod(running=False, trouble=Trouble("RunnerExited", "137"))
    assert plan(session(before), observed(pod=ending)).status == before


class TestSilentNode:
    """A node that is not heard of any more."""

    def test_a_turn_under_way_is_waited_for(self) -> None:
        before = plan(session(), observed(pod=pod(), runner=runner("Ready", said(phase="Running")))).status
        made = plan(session(before), observed(pod=pod(node_silent=True), runner=runner("Ready", said(phase="Running"))))
        assert reason(made) == "False NodeNotReady"
        assert reason(made, "Reconciling") == "True NodeNotReady"
        assert made.status.phase == "Running"
        assert kinds(made) == [Listen]
        again = plan(session(made.status), observed(pod=pod(), runner=runner("Ready", said(phase="Running"))))
        assert reason(again) == "True Connected"

    def test_an_answer_counts(self) -> None:
        seen = observed(pod=pod(node_silent=True), runner=runner("Ready", said()))
        assert reason(plan(session(AgentSessionStatus(turns=[known()])), seen)) == "True Completed"

    def test_nothing_more_is_asked(self) -> None:
        before = AgentSessionStatus(turns=[known(state="Completed")])
        silent = observed(pod=pod(node_silent=True), runner=runner("Ready", said()))
        assert kinds(plan(session(before, **LONG_RUNNING), silent)) == [Listen]

    def test_a_runner_that_was_asked_nothing_is_made_anew(self) -> None:
        made = plan(session(), observed(pod=pod(node_silent=True), runner=runner(bound=False)))
        assert made.actions == [DeleteRunner(("n", "s-11111111"), "p-1")]
        assert reason(made) == "False NodeNotReady"


@pytest.mark.parametrize("done", [True, False])
def test_a_pod_that_does_not_go_is_removed_by_force_once_it_is_overdue(done: bool) -> None:
    over = plan(session(), observed(pod=pod(), runner=runner("Ready", said()))).status
    who = session(over) if done else session()
    leaving = plan(who, observed(pod=pod(gone_by=NOW)))
    assert (leaving.actions, leaving.requeue_after) == ([], timedelta(seconds=60))
    overdue = plan(who, observed(pod=pod(gone_by=NOW - timedelta(seconds=60))))
    assert overdue.actions == [DeleteRunner(("n", "s-11111111"), "p-1", grace_seconds=0)]


def test_a_runner_of_another_session_is_never_asked() -> None:
    made = plan(session(), observed(pod=pod(), runner=runner(session_uid="another")))
    assert made.actions == [DeleteRunner(("n", "s-11111111"), "p-1")]
    assert reason(made) == "False RunnerLost"


def test_a_runner_that_fails_before_the_first_turn_is_made_anew_after_a_while() -> None:
    fresh = plan(session(), observed(pod=ended_pod("NotContained", "reached 10.96.0.1:443")))
    assert fresh.actions == []
    assert fresh.requeue_after == timedelta(seconds=5)
    assert reason(fresh, "Contained") == "False NotContained"
    later = plan(session(), observed(pod=ended_pod("NotContained", ago=5)))
    assert later.actions == [DeleteRunner(("n", "s-11111111"), "p-1")]


def test_the_wait_between_runners_grows_with_the_time_without_one() -> None:
    first = plan(session(), observed(pod=ended_pod("NotContained", ago=100)))
    second = plan(session(first.status), observed(pod=ended_pod("NotContained", ago=-60)))
    assert second.requeue_after == timedelta(seconds=120)


def test_a_clock_that_was_put_back_does_not_hold_up_the_next_runner() -> None:
    before = plan(session(), observed(pod=ended_pod("NotContained"))).status
    made = decide(session(before), observed(pod=ended_pod("NotContained")), INSTALL, NOW - timedelta(hours=5))
    assert made.requeue_after is not None
    assert made.requeue_after <= timedelta(minutes=5)
