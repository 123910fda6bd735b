"""Prompts are delivered once, and answers count."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agentsession.api.session import AgentSessionStatus
from agentsession.runners.podview import PodView
from agentsession.sessions.decide import POLL
from agentsession.sessions.observed import Observed
from agentsession.sessions.plan import Bind, Listen, Prompt

from .build import CONVERSATION, NOW, ended_pod, known, observed, pod, runner, said, served, session
from .deciding import LONG_RUNNING, kinds, plan, reason

pytestmark = pytest.mark.unit


def test_a_running_pod_is_listened_to_before_it_is_called() -> None:
    made = plan(session(), observed(pod=pod()))
    assert made.actions == [Listen("p-1", "10.0.0.9")]
    assert reason(made) == "False Starting"


def test_a_connected_runner_is_bound_and_then_prompted_once_that_is_told() -> None:
    made = plan(session(), observed(pod=pod(), runner=runner(bound=False)))
    assert (made.actions, made.at_once, made.status) == ([Bind("p-1", "10.0.0.9")], True, session().status)
    made = plan(session(), observed(pod=pod(), runner=runner()))
    assert kinds(made) == [Listen, Prompt]
    assert reason(made) == "True Connected"
    assert reason(made, "Active") == "True TurnActive"
    assert reason(made, "Contained") == "True Verified"
    assert [turn.state for turn in made.status.turns] == ["Running"]
    assert made.status.timings.ready == NOW


def test_a_turn_under_way_is_not_asked_again() -> None:
    status = AgentSessionStatus(turns=[known()])
    made = plan(session(status), observed(pod=pod(), runner=runner("Ready", said(phase="Running"))))
    assert kinds(made) == [Listen]
    assert made.requeue_after is None


def test_a_prompt_whose_delivery_is_unknown_is_repeated_under_the_same_id() -> None:
    status = AgentSessionStatus(turns=[known()])
    made = plan(session(status), observed(pod=pod(), runner=runner()))
    prompts = [action for action in made.actions if isinstance(action, Prompt)]
    assert [prompt.uuid for prompt in prompts] == [known().uuid]


def test_the_answer_finishes_an_ephemeral_session() -> None:
    status = AgentSessionStatus(turns=[known()])
    seen = observed(pod=pod(), runner=runner("Ready", said()), usage=[served(output=7)])
    made = plan(session(status), seen)
    assert made.settle_usage
    assert made.status.phase == "Succeeded"
    assert made.status.result is not None
    assert made.status.result.text == "42"
    assert reason(made) == "True Completed"
    assert reason(made, "Finished") == "True Completed"
    assert reason(made, "Reconciling") is None
    assert made.status.usage is not None
    assert made.status.usage.output_tokens == 7


def test_the_id_of_the_conversation_is_the_first_that_was_told() -> None:
    first = plan(session(), observed(pod=pod(), runner=runner("Ready", said(phase="Running")))).status
    other = runner("Ready", said(phase="Running"), session_id="77777777-7777-8888-9999-000000000000")
    assert first.session_id == CONVERSATION
    assert plan(session(first), observed(pod=pod(), runner=other)).status == first


def test_a_failed_turn_fails_an_ephemeral_session() -> None:
    made = plan(session(), observed(pod=pod(), runner=runner("Ready", said(phase="Failed", reason="api_error 500"))))
    assert made.status.phase == "Failed"
    assert reason(made, "Stalled") == "True TurnFailed"
    assert made.status.result is not None
    assert made.status.result.is_error


@pytest.mark.parametrize(
    "seen_pod",
    [pod(deleting=True), ended_pod("RunnerEvicted"), ended_pod("RunnerOutOfMemory"), ended_pod("WallClockExceeded")],
)
def test_an_answer_counts_whatever_becomes_of_its_runner(seen_pod: PodView) -> None:
    made = plan(session(AgentSessionStatus(turns=[known()])), observed(pod=seen_pod, runner=runner("Ready", said())))
    assert reason(made) == "True Completed"


def test_an_answer_in_status_counts_when_the_pod_is_gone() -> None:
    made = plan(session(AgentSessionStatus(turns=[known(state="Completed")])), observed())
    assert reason(made) == "True Completed"


def test_a_good_answer_counts_although_the_limit_was_reached() -> None:
    seen = observed(pod=pod(), runner=runner("Ready", said()), usage=[served(stopped="TurnLimit")])
    assert reason(plan(session(AgentSessionStatus(turns=[known()])), seen)) == "True Completed"


def test_a_new_leader_changes_nothing_before_it_has_heard_the_runner() -> None:
    before = plan(session(**LONG_RUNNING), observed(pod=pod(), runner=runner("Ready", bound=True))).status
    made = plan(session(before, **LONG_RUNNING), observed(pod=pod()))
    assert made.status == before
    assert kinds(made) == [Listen]


def test_a_new_leader_starts_no_follow_up_before_it_has_heard_the_runner() -> None:
    before = AgentSessionStatus(turns=[known(state="Completed")])
    made = plan(session(before, **LONG_RUNNING), observed(pod=pod()))
    assert [turn.id for turn in made.status.turns] == ["prompt"]


class TestLongRunning:
    """A conversation that goes on."""

    def test_it_waits_for_input(self) -> None:
        made = plan(session(lifecycle="LongRunning"), observed(pod=pod(), runner=runner("Ready", said())))
        assert made.status.phase == "Idle"
        assert reason(made, "Active") == "False WaitingForInput"
        assert reason(made) == "True Connected"

    def test_follow_ups_are_asked_in_order_one_at_a_time(self) -> None:
        made = plan(session(**LONG_RUNNING), observed(pod=pod(), runner=runner("Ready", said())))
        assert [action.text for action in made.actions if isinstance(action, Prompt)] == ["A"]
        status = AgentSessionStatus(turns=[known(state="Completed"), known("a")])
        busy = runner("Ready", said(), said("a", "Running"))
        assert kinds(plan(session(status, **LONG_RUNNING), observed(pod=pod(), runner=busy))) == [Listen]
        done = runner("Ready", said(), said("a"))
        made = plan(session(status, **LONG_RUNNING), observed(pod=pod(), runner=done))
        assert [action.text for action in made.actions if isinstance(action, Prompt)] == ["B"]

    def test_a_failed_turn_does_not_end_it(self) -> None:
        made = plan(session(lifecycle="LongRunning"), observed(pod=pod(), runner=runner("Ready", said(phase="Failed"))))
        assert made.status.phase == "Idle"
        assert made.status.turns_completed == 1

    def test_it_looks_again_until_usage_tells_of_its_last_turn(self) -> None:
        seen = observed(pod=pod(), runner=runner("Ready", said()), usage=[served()])
        made = plan(session(lifecycle="LongRunning"), replace(seen, usage_until=NOW))
        assert made.requeue_after == POLL
        heard = replace(seen, usage_until=NOW + timedelta(seconds=1))
        counted = plan(session(made.status, lifecycle="LongRunning"), heard)
        assert counted.status.usage is not None
        assert counted.status.usage.until == heard.usage_until
        assert counted.requeue_after is None


@pytest.mark.parametrize(
    "seen",
    [
        observed(),
        observed(pod=pod(deleting=True)),
        observed(pod=ended_pod("RunnerEvicted")),
        observed(pod=ended_pod("RunnerOutOfMemory")),
        observed(tenant=None, pod=pod()),
        observed(pod=pod(), runner=runner("Failed", message="gone")),
        observed(pod=pod(), runner=runner("Ready"), usage=[served(stopped="TurnLimit")]),
        observed(pod=pod(started=NOW - timedelta(hours=1), deadline=timedelta(hours=2)), runner=runner("Ready")),
        observed(pod=pod(), runner=runner("Ready", session_uid="another")),
        observed(pod=pod(deleting=True), namespace_terminating=True),
    ],
)
def test_what_was_asked_is_never_asked_again_elsewhere(seen: Observed) -> None:
    made = plan(session(AgentSessionStatus(turns=[known()])), seen)
    assert made.actions == []
    assert made.status.phase == "Failed"
    assert [turn.state for turn in made.status.turns] == ["Failed"]
    assert reason(made, "Finished") is not None
