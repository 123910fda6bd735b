"""What a session needs before it gets a runner, and how it gets one."""

from datetime import timedelta
from typing import Any

import pytest

from agentsession.api.base import condition
from agentsession.api.session import AgentSessionStatus
from agentsession.runners.trouble import Trouble
from agentsession.sessions import report
from agentsession.sessions.holdup import Claim
from agentsession.sessions.observed import Observed
from agentsession.sessions.plan import CreateRunner, DeleteRunner

from .build import NOW, ended_pod, observed, pod, runner, said, session, tenant
from .deciding import kinds, plan, reason

pytestmark = pytest.mark.unit


def test_a_new_session_gets_a_runner() -> None:
    made = plan(session(), observed())
    assert kinds(made) == [CreateRunner]
    assert made.requeue_after == timedelta(0), "its pod may run before anybody watches for that"
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


def test_sessions_above_the_tenants_limit_wait() -> None:
    made = plan(session(), observed(free_slots=0))
    assert made.actions == []
    assert reason(made) == "False TenantAtCapacity"


def test_a_pod_that_the_operator_did_not_make_is_removed_and_never_served() -> None:
    made = plan(session(), observed(pod=pod(grant=None), runner=runner()))
    assert made.actions == [DeleteRunner(("n", "s-11111111"), "p-1")]


UNBOUND = Claim("workspace-default", "Pending")
WAITS: dict[str, Any] = {"ip": None, "running": False, "contained": False, "set_up": False}


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


def test_nothing_is_started_in_a_namespace_that_goes() -> None:
    made = plan(session(), observed(namespace_ready=False, namespace_terminating=True, tenant=None))
    assert made.actions == []
    assert reason(made) == "False NamespaceNotReady"
    message = condition(made.status.conditions, "Ready")
    assert message is not None
    assert "is being deleted" in message.message


def test_a_refusal_of_the_api_server_stands_until_a_pod_is_there() -> None:
    before = report.starting(session(), observed(), Trouble("PodRefused", "exceeded quota"), NOW)
    again = plan(session(before), observed())
    assert kinds(again) == [CreateRunner]
    assert reason(again) == "False PodRefused"
    assert reason(plan(session(before), observed(pod=pod(running=False)))) == "False Starting"


def test_not_contained_stands_until_a_runner_is_contained() -> None:
    before = plan(session(), observed(pod=ended_pod("NotContained", "reached x"))).status
    again = plan(session(before), observed())
    assert reason(again, "Contained") == "False NotContained"
    healed = plan(session(before), observed(pod=pod(), runner=runner("Ready", said(phase="Running"))))
    assert reason(healed, "Contained") == "True Verified"


def test_it_costs_three_status_writes_from_creation_to_the_end() -> None:
    status, written = AgentSessionStatus(), 0
    steps = [
        observed(),
        observed(pod=pod(running=False, ip=None, contained=False)),
        observed(pod=pod(running=False)),
        observed(pod=pod()),
        observed(pod=pod(), runner=runner("Starting", bound=False)),
        observed(pod=pod(), runner=runner(bound=False)),
        observed(pod=pod(), runner=runner("Ready", said(phase="Running"))),
        observed(pod=pod(), runner=runner("Ready", said())),
        observed(pod=pod(deleting=True)),
        observed(),
    ]
    for seen in steps:
        after = plan(session(status), seen).status
        written += after != status
        status = after
    assert written == 3
