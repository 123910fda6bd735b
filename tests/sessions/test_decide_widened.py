"""A NetworkPolicy of somebody else's lets runners reach more."""

import pytest

from agentsession.runners.podview import PodView
from agentsession.sessions.plan import CreateRunner, DeleteRunner

from .build import observed, pod, runner, said, session
from .deciding import kinds, plan, reason

pytestmark = pytest.mark.unit


def test_no_pod_where_somebodys_policy_widens_its_reach() -> None:
    made = plan(session(), observed(widened_by="allow-dns"))
    assert made.actions == []
    assert made.status.phase == "Starting"
    for type_, status in (("Ready", "False"), ("Contained", "False"), ("Reconciling", "True")):
        assert reason(made, type_) == f"{status} WidenedByPolicy"
    (message,) = {item.message for item in made.status.conditions if item.reason == "WidenedByPolicy"}
    assert "NetworkPolicy allow-dns " in message
    assert "[{key: agentsession.io/runner, operator: DoesNotExist}]" in message
    assert "runner.networkPolicies" in message


def test_it_goes_on_at_once_when_the_policy_goes() -> None:
    before = plan(session(), observed(widened_by="allow-dns")).status
    healed = plan(session(before), observed())
    assert kinds(healed) == [CreateRunner]
    assert reason(healed) == "False Starting"
    assert reason(healed, "Contained") is None


@pytest.mark.parametrize("where", [pod(), pod(phase="Pending", ip=None, running=False, contained=False)])
def test_a_runner_that_was_asked_nothing_is_removed_when_a_policy_widens_its_reach(where: PodView) -> None:
    made = plan(session(), observed(pod=where, runner=runner(bound=False), widened_by="allow-dns"))
    assert made.actions == [DeleteRunner(("n", "s-11111111"), "p-1", grace_seconds=1)]
    assert reason(made, "Finished") is None
    assert reason(made, "Contained") == "False WidenedByPolicy"


def test_a_session_that_works_is_stopped_when_a_policy_widens_its_reach() -> None:
    working = plan(session(), observed(pod=pod(), runner=runner())).status
    made = plan(session(working), observed(pod=pod(), runner=runner("Ready", said(phase="Running")), widened_by="x"))
    assert reason(made, "Finished") == "True WidenedByPolicy"
    assert reason(made, "Stalled") == "True WidenedByPolicy"
    assert reason(made, "Contained") == "False WidenedByPolicy"
    removed = plan(session(made.status), observed(pod=pod(), widened_by="x"))
    assert removed.actions == [DeleteRunner(("n", "s-11111111"), "p-1", grace_seconds=1)]


def test_what_has_ended_well_is_not_judged_by_a_policy_that_came_later_but_gets_no_time() -> None:
    made = plan(session(), observed(pod=pod(), runner=runner("Ready", said()), widened_by="x"))
    assert reason(made, "Finished") == "True Completed"
    for going in (pod(), pod(deleting=True)):
        cut = plan(session(made.status), observed(pod=going, widened_by="x"))
        assert cut.actions == [DeleteRunner(("n", "s-11111111"), "p-1", grace_seconds=1)]
    assert plan(session(made.status), observed(pod=pod(deleting=True, grace_seconds=1), widened_by="x")).actions == []
