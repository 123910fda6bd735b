"""The decision, one behaviour a test."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agentsession.api.base import condition, is_true
from agentsession.api.session import AgentSession, AgentSessionStatus
from agentsession.sessions import report
from agentsession.sessions.decide import decide
from agentsession.sessions.holdup import Claim
from agentsession.sessions.observed import Observed
from agentsession.sessions.plan import Bind, CreateRunner, DeleteRunner, DeleteSession, Listen, Plan, Prompt
from agentsession.sessions.podview import PodView
from agentsession.sessions.trouble import Trouble

from .build import CONVERSATION, INSTALL, NOW, ended_pod, known, observed, pod, runner, said, served, session, tenant

pytestmark = pytest.mark.unit


def plan(who: AgentSession, seen: Observed) -> Plan:
    return decide(who, seen, INSTALL, NOW)


def reason(made: Plan, type_: str = "Ready") -> str | None:
    found = condition(made.status.conditions, type_)
    return f"{found.status} {found.reason}" if found is not None else None


def kinds(made: Plan) -> list[type]:
    return [type(action) for action in made.actions]


def test_a_new_session_gets_a_runner() -> None:
    made = plan(session(), observed())
    assert kinds(made) == [CreateRunner]
    assert made.status.phase == "Starting"
    assert made.status.pod_name == "s-11111111"
    assert reason(made, "Reconciling") == "True Starting"


def test_the_way_from_the_pod_to_the_agent_costs_one_write() -> None:
    told = plan(session(), observed()).status
    for seen in (
        observed(pod=pod(phase="Pending", ip=None, running=False, contained=False, started=None)),
        observed(pod=pod(phase="Pending", running=False)),
        observed(pod=pod()),
        observed(pod=pod(), runner=runner("Starting")),
    ):
        assert plan(session(told), seen).status == told


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtime": {"image": "evil:1"}}, "ImageNotAllowed"),
        ({"runtime": {"runtimeClassName": "kata"}}, "RuntimeClassNotAllowed"),
        (
            {
                "agent": {
                    "model": "m",
                    "tools": ["Agent"],
                    "systemPrompt": "x" * 32768,
                    "subagents": [{"name": f"a{i}", "description": "d", "prompt": "y" * 16384} for i in range(8)],
                }
            },
            "AgentTooLarge",
        ),
        ({"runtime": {"resources": {"requests": {"memory": "2Gi"}}}}, "RequestAboveLimit"),
        ({"runtime": {"resources": {"limits": {"cpu": "999m"}}}}, "RequestAboveLimit"),
    ],
)
def test_a_spec_that_cannot_work_is_stalled_and_names_the_field(spec: dict[str, Any], why: str) -> None:
    made = plan(session(**spec), observed())
    assert made.actions == []
    assert made.requeue_after is None
    assert reason(made, "Accepted") == f"False {why}"
    assert reason(made, "Stalled") == f"True {why}"
    message = condition(made.status.conditions, "Ready")
    assert message is not None
    assert "spec." in message.message


@pytest.mark.parametrize("runtime", [{"image": "runner:2"}, {"runtimeClassName": "gvisor"}, {"image": "runner:1"}])
def test_what_the_installer_lists_is_accepted(runtime: dict[str, str]) -> None:
    assert kinds(plan(session(runtime=runtime), observed())) == [CreateRunner]


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (observed(tenant=None), "TenantNotFound"),
        (observed(tenant=tenant(ready=False)), "TenantNotReady"),
        (observed(tenant=tenant(models=("other",))), "ModelNotAllowed"),
        (observed(prompt=None, prompt_problem="there is no ConfigMap x"), "PromptNotFound"),
    ],
)
def test_a_missing_reference_is_waited_for(seen: Observed, why: str) -> None:
    made = plan(session(), seen)
    assert made.actions == []
    assert (made.requeue_after is not None) == (why == "PromptNotFound")  # no watch tells of a ConfigMap
    assert reason(made, "ResolvedRefs") == f"False {why}"
    assert reason(made, "Reconciling") == f"True {why}"
    assert reason(made, "Stalled") is None


def test_a_tenant_that_was_changed_and_not_checked_since_is_waited_for() -> None:
    changed = tenant()
    changed.metadata.generation = 2
    assert reason(plan(session(), observed(tenant=changed)), "ResolvedRefs") == "False TenantPending"


def test_a_tenant_whose_secret_was_not_looked_at_yet_is_waited_for() -> None:
    fresh = tenant(ready=False)
    fresh.status.conditions[0].reason = "CredentialPending"
    assert reason(plan(session(), observed(tenant=fresh)), "ResolvedRefs") == "False TenantPending"


def test_no_pod_before_the_network_policy() -> None:
    made = plan(session(), observed(namespace_ready=False))
    assert made.actions == []
    assert reason(made) == "False NamespaceNotReady"


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
    assert made.actions == [DeleteRunner("s-11111111", "p-1", grace_seconds=1)]
    assert reason(made, "Finished") is None
    assert reason(made, "Contained") == "False WidenedByPolicy"


def test_a_session_that_works_is_stopped_when_a_policy_widens_its_reach() -> None:
    working = plan(session(), observed(pod=pod(), runner=runner())).status
    made = plan(session(working), observed(pod=pod(), runner=runner("Ready", said(phase="Running")), widened_by="x"))
    assert reason(made, "Finished") == "True WidenedByPolicy"
    assert reason(made, "Stalled") == "True WidenedByPolicy"
    assert reason(made, "Contained") == "False WidenedByPolicy"
    removed = plan(session(made.status), observed(pod=pod(), widened_by="x"))
    assert removed.actions == [DeleteRunner("s-11111111", "p-1", grace_seconds=1)]


def test_what_has_ended_well_is_not_judged_by_a_policy_that_came_later_but_gets_no_time() -> None:
    made = plan(session(), observed(pod=pod(), runner=runner("Ready", said()), widened_by="x"))
    assert reason(made, "Finished") == "True Completed"
    for going in (pod(), pod(deleting=True)):
        cut = plan(session(made.status), observed(pod=going, widened_by="x"))
        assert cut.actions == [DeleteRunner("s-11111111", "p-1", grace_seconds=1)]
    assert plan(session(made.status), observed(pod=pod(deleting=True, grace_seconds=1), widened_by="x")).actions == []


def test_sessions_above_the_tenants_limit_wait() -> None:
    made = plan(session(), observed(free_slots=0))
    assert made.actions == []
    assert reason(made) == "False TenantAtCapacity"


def test_a_pod_that_the_operator_did_not_make_is_removed_and_never_served() -> None:
    made = plan(session(), observed(pod=pod(grant=None), runner=runner()))
    assert made.actions == [DeleteRunner("s-11111111", "p-1")]


def test_a_running_pod_is_listened_to_before_it_is_called() -> None:
    made = plan(session(), observed(pod=pod()))
    assert made.actions == [Listen("p-1", "10.0.0.9")]
    assert reason(made) == "False Starting"


def test_a_connected_runner_is_bound_and_prompted_in_one_step() -> None:
    made = plan(session(), observed(pod=pod(), runner=runner(bound=False)))
    assert kinds(made) == [Listen, Bind, Prompt]
    assert reason(made) == "True Connected"
    assert reason(made, "Active") == "True TurnActive"
    assert reason(made, "Contained") == "True Verified"
    assert [turn.state for turn in made.status.turns] == ["Running"]
    assert made.status.timings.ready == NOW


def test_a_turn_under_way_is_not_asked_again() -> None:
    status = AgentSessionStatus(turns=[known()])
    made = plan(session(status), observed(pod=pod(), runner=runner("Busy", said(phase="Running"))))
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


def test_the_id_of_the_conversation_is_the_first_that_was_told() -> None:
    first = plan(session(), observed(pod=pod(), runner=runner("Busy", said(phase="Running")))).status
    other = runner("Busy", said(phase="Running"), session_id="77777777-7777-8888-9999-000000000000")
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


UNBOUND = Claim("workspace-default", "Pending")
WAITS = {"ip": None, "running": False, "contained": False, "set_up": False}


class TestHeldUp:
    """A pod whose containers do not run yet."""

    @pytest.mark.parametrize(
        ("claim", "why", "says"),
        [
            (None, "Unschedulable", "no node"),
            (Claim("workspace-default", "Bound"), "Unschedulable", "no node"),
            (UNBOUND, "VolumeNotReady", "PersistentVolumeClaim workspace-default is Pending: no node"),
            (Claim("workspace-default", "Lost"), "VolumeNotReady", "PersistentVolumeClaim workspace-default is Lost"),
        ],
    )
    def test_by_the_claim_that_no_node_can_serve(self, claim: Claim | None, why: str, says: str) -> None:
        made = plan(session(), observed(pod=pod(**WAITS, trouble=Trouble("Unschedulable", "no node")), claim=claim))
        told = condition(made.status.conditions, "Ready")
        assert told is not None
        assert (told.reason, says in told.message) == (why, True)

    @pytest.mark.parametrize(
        ("claim", "why", "says"),
        [
            (None, "ContainerNotCreated", "its network"),
            (Claim("workspace-default", "Bound"), "ContainerNotCreated", "workspace-default is Bound"),
            (UNBOUND, "VolumeNotReady", "no volume was made"),
        ],
    )
    def test_without_a_word_for_a_while(self, claim: Claim | None, why: str, says: str) -> None:
        young = plan(session(), observed(pod=pod(**WAITS), claim=claim))
        assert (reason(young), young.requeue_after) == ("False Starting", timedelta(seconds=16))
        old = pod(**WAITS, created=NOW - timedelta(seconds=20))
        told = condition(plan(session(), observed(pod=old, claim=claim)).status.conditions, "Ready")
        assert told is not None
        assert (told.reason, says in told.message) == (why, True)

    def test_not_by_an_init_container_that_takes_its_time(self) -> None:
        slow = pod(**{**WAITS, "set_up": True}, created=NOW - timedelta(minutes=1))
        assert reason(plan(session(), observed(pod=slow, claim=UNBOUND))) == "False Starting"


class TestSilentNode:
    """A node that is not heard of any more."""

    def test_a_turn_under_way_is_waited_for(self) -> None:
        before = plan(session(), observed(pod=pod(), runner=runner(bound=False))).status
        made = plan(session(before), observed(pod=pod(node_silent=True), runner=runner("Busy", said(phase="Running"))))
        assert reason(made) == "False NodeNotReady"
        assert reason(made, "Reconciling") == "True NodeNotReady"
        assert made.status.phase == "Running"
        assert kinds(made) == [Listen]
        again = plan(session(made.status), observed(pod=pod(), runner=runner("Busy", said(phase="Running"))))
        assert reason(again) == "True Connected"

    def test_an_answer_counts(self) -> None:
        seen = observed(pod=pod(node_silent=True), runner=runner("Ready", said()))
        assert reason(plan(session(AgentSessionStatus(turns=[known()])), seen)) == "True Completed"

    def test_nothing_more_is_asked(self) -> None:
        before = AgentSessionStatus(turns=[known(state="Completed")])
        silent = observed(pod=pod(node_silent=True), runner=runner("Ready", said()))
        assert kinds(plan(session(before, **TestLongRunning.spec), silent)) == [Listen]

    def test_a_runner_that_was_asked_nothing_is_made_anew(self) -> None:
        made = plan(session(), observed(pod=pod(node_silent=True), runner=runner(bound=False)))
        assert made.actions == [DeleteRunner("s-11111111", "p-1")]
        assert reason(made) == "False NodeNotReady"


@pytest.mark.parametrize("done", [True, False])
def test_a_pod_that_does_not_go_is_removed_by_force_once_it_is_overdue(done: bool) -> None:
    over = plan(session(), observed(pod=pod(), runner=runner("Ready", said()))).status
    who = session(over) if done else session()
    leaving = plan(who, observed(pod=pod(gone_by=NOW)))
    assert (leaving.actions, leaving.requeue_after) == ([], timedelta(seconds=60))
    overdue = plan(who, observed(pod=pod(gone_by=NOW - timedelta(seconds=60))))
    assert overdue.actions == [DeleteRunner("s-11111111", "p-1", grace_seconds=0)]


def test_a_runner_of_another_session_is_never_asked() -> None:
    made = plan(session(), observed(pod=pod(), runner=runner(session_uid="another")))
    assert made.actions == [DeleteRunner("s-11111111", "p-1")]
    assert reason(made) == "False RunnerLost"


def test_nothing_is_started_in_a_namespace_that_goes() -> None:
    made = plan(session(), observed(namespace_ready=False, namespace_terminating=True, tenant=None))
    assert made.actions == []
    assert reason(made) == "False NamespaceNotReady"
    message = condition(made.status.conditions, "Ready")
    assert message is not None
    assert "is being deleted" in message.message


def test_an_answer_in_status_counts_when_the_pod_is_gone() -> None:
    made = plan(session(AgentSessionStatus(turns=[known(state="Completed")])), observed())
    assert reason(made) == "True Completed"


def test_a_turn_that_failed_at_the_limit_says_the_limit() -> None:
    failed = runner("Ready", said(phase="Failed", reason="API Error: 429"))
    before = AgentSessionStatus(turns=[known()])
    at_first = plan(session(before), observed(pod=pod(), runner=failed))
    assert at_first.settle_usage
    settled = plan(session(before), observed(pod=pod(), runner=failed, usage=[served(stopped="TurnLimit")]))
    assert reason(settled) == "False TurnLimitReached"


def test_a_good_answer_counts_although_the_limit_was_reached() -> None:
    seen = observed(pod=pod(), runner=runner("Ready", said()), usage=[served(stopped="TurnLimit")])
    assert reason(plan(session(AgentSessionStatus(turns=[known()])), seen)) == "True Completed"


def test_an_image_that_is_withdrawn_does_not_touch_what_runs() -> None:
    who = session(AgentSessionStatus(turns=[known()]), runtime={"image": "withdrawn:1"})
    made = plan(who, observed(pod=pod(), runner=runner("Busy", said(phase="Running"))))
    assert reason(made) == "True Connected"
    assert reason(plan(session(runtime={"image": "withdrawn:1"}), observed()), "Stalled") == "True ImageNotAllowed"


def test_a_new_leader_changes_nothing_before_it_has_heard_the_runner() -> None:
    before = plan(session(**TestLongRunning.spec), observed(pod=pod(), runner=runner("Ready", bound=True))).status
    made = plan(session(before, **TestLongRunning.spec), observed(pod=pod()))
    assert made.status == before
    assert kinds(made) == [Listen]


def test_a_new_leader_starts_no_follow_up_before_it_has_heard_the_runner() -> None:
    before = AgentSessionStatus(turns=[known(state="Completed")])
    made = plan(session(before, **TestLongRunning.spec), observed(pod=pod()))
    assert [turn.id for turn in made.status.turns] == ["prompt"]


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


def test_a_clock_that_was_put_back_does_not_hold_up_the_next_runner() -> None:
    before = plan(session(), observed(pod=ended_pod("NotContained"))).status
    made = decide(session(before), observed(pod=ended_pod("NotContained")), INSTALL, NOW - timedelta(hours=5))
    assert made.requeue_after is not None
    assert made.requeue_after <= timedelta(minutes=5)


def test_a_refusal_of_the_api_server_stands_until_a_pod_is_there() -> None:
    before = report.starting(session(), observed(), Trouble("PodRefused", "exceeded quota"), NOW)
    again = plan(session(before), observed())
    assert kinds(again) == [CreateRunner]
    assert reason(again) == "False PodRefused"
    assert reason(plan(session(before), observed(pod=pod(running=False)))) == "False Starting"


def test_it_costs_three_status_writes_from_creation_to_the_end() -> None:
    status, written = AgentSessionStatus(), 0
    steps = [
        observed(),
        observed(pod=pod(running=False, ip=None, contained=False)),
        observed(pod=pod(running=False)),
        observed(pod=pod()),
        observed(pod=pod(), runner=runner("Starting", bound=False)),
        observed(pod=pod(), runner=runner(bound=False)),
        observed(pod=pod(), runner=runner("Busy", said(phase="Running"))),
        observed(pod=pod(), runner=runner("Ready", said())),
        observed(pod=pod(deleting=True)),
        observed(),
    ]
    for seen in steps:
        after = plan(session(status), seen).status
        written += after != status
        status = after
    assert written == 3


class TestLongRunning:
    """A conversation that goes on."""

    spec: dict[str, Any] = {
        "lifecycle": "LongRunning",
        "followUps": [{"id": "a", "prompt": "A"}, {"id": "b", "prompt": "B"}],
    }

    def test_it_waits_for_input(self) -> None:
        made = plan(session(lifecycle="LongRunning"), observed(pod=pod(), runner=runner("Ready", said())))
        assert made.status.phase == "Idle"
        assert reason(made, "Active") == "False WaitingForInput"
        assert reason(made) == "True Connected"

    def test_follow_ups_are_asked_in_order_one_at_a_time(self) -> None:
        made = plan(session(**self.spec), observed(pod=pod(), runner=runner("Ready", said())))
        assert [action.text for action in made.actions if isinstance(action, Prompt)] == ["A"]
        status = AgentSessionStatus(turns=[known(state="Completed"), known("a")])
        busy = runner("Busy", said(), said("a", "Running"))
        assert kinds(plan(session(status, **self.spec), observed(pod=pod(), runner=busy))) == [Listen]
        done = runner("Ready", said(), said("a"))
        made = plan(session(status, **self.spec), observed(pod=pod(), runner=done))
        assert [action.text for action in made.actions if isinstance(action, Prompt)] == ["B"]

    def test_a_failed_turn_does_not_end_it(self) -> None:
        made = plan(session(lifecycle="LongRunning"), observed(pod=pod(), runner=runner("Ready", said(phase="Failed"))))
        assert made.status.phase == "Idle"
        assert made.status.turns_completed == 1


def test_a_wall_clock_that_was_over_before_the_first_turn_is_over() -> None:
    """As in a Job: whoever never lets its runner connect would otherwise have it made anew for ever."""
    made = plan(session(), observed(pod=ended_pod("WallClockExceeded")))
    assert reason(made) == "False WallClockExceeded"


def test_a_runner_that_fails_before_the_first_turn_is_made_anew_after_a_while() -> None:
    fresh = plan(session(), observed(pod=ended_pod("NotContained", "reached 10.96.0.1:443")))
    assert fresh.actions == []
    assert fresh.requeue_after == timedelta(seconds=5)
    assert reason(fresh, "Contained") == "False NotContained"
    later = plan(session(), observed(pod=ended_pod("NotContained", ago=5)))
    assert later.actions == [DeleteRunner("s-11111111", "p-1")]


def test_the_wait_between_runners_grows_with_the_time_without_one() -> None:
    first = plan(session(), observed(pod=ended_pod("NotContained", ago=100)))
    second = plan(session(first.status), observed(pod=ended_pod("NotContained", ago=-60)))
    assert second.requeue_after == timedelta(seconds=120)


def test_not_contained_stands_until_a_runner_is_contained() -> None:
    before = plan(session(), observed(pod=ended_pod("NotContained", "reached x"))).status
    again = plan(session(before), observed())
    assert reason(again, "Contained") == "False NotContained"
    healed = plan(session(before), observed(pod=pod(), runner=runner(bound=False)))
    assert reason(healed, "Contained") == "True Verified"


@pytest.mark.parametrize(
    "seen",
    [
        observed(),
        observed(pod=pod(deleting=True)),
        observed(pod=ended_pod("RunnerEvicted")),
        observed(pod=ended_pod("RunnerOutOfMemory")),
        observed(tenant=None, pod=pod()),
        observed(pod=pod(), runner=runner("Failed", message="gone")),
        observed(pod=pod(), runner=runner("Busy"), usage=[served(stopped="TurnLimit")]),
        observed(pod=pod(started=NOW - timedelta(hours=1), deadline=timedelta(hours=2)), runner=runner("Busy")),
        observed(pod=pod(), runner=runner("Busy", session_uid="another")),
        observed(pod=pod(deleting=True), namespace_terminating=True),
    ],
)
def test_what_was_asked_is_never_asked_again_elsewhere(seen: Observed) -> None:
    made = plan(session(AgentSessionStatus(turns=[known()])), seen)
    assert made.actions == []
    assert made.status.phase == "Failed"
    assert [turn.state for turn in made.status.turns] == ["Failed"]
    assert reason(made, "Finished") is not None


def test_a_finished_session_loses_its_runner_and_then_itself() -> None:
    done = plan(session(), observed(pod=pod(), runner=runner("Ready", said()))).status
    with_ttl = session(done, ttlSecondsAfterFinished=0)
    assert plan(with_ttl, observed(pod=pod())).actions == [DeleteRunner("s-11111111", "p-1")]
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
    before = plan(session(), observed(pod=pod(), runner=runner("Busy"), usage=[served("e-1", 5)])).status
    seen = observed(pod=pod(), runner=runner("Busy"), usage=[served("e-2", 2)], lost_meters=frozenset({"e-1"}))
    after = plan(session(before), seen).status
    assert after.usage is not None
    assert (after.usage.output_tokens, after.usage.estimated, after.usage.cost_usd) == (7, True, "0.20")
