"""spec.suspend, step by step: what is said, what is done, and that nothing is asked twice or forgotten."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agentsession.api.base import condition
from agentsession.api.session import AgentSessionStatus, Turn, WorkspaceStatus
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import WIDENED
from agentsession.sessions.observed import Observed
from agentsession.sessions.plan import Bind, CreateRunner, DeleteRunner, Drain, Listen, Plan, Prompt
from agentsession.sessions.removal import CUT_OFF
from agentsession.sessions.turns import GO_ON, continued_uuid, turn_uuid
from agentsession_runner.protocol import TurnState

from .build import INSTALL, NOW, UID, ended_pod, known, observed, pod, runner, said, served, session, tenant
from .deciding import kinds, plan

pytestmark = pytest.mark.unit

GRACE = timedelta(seconds=INSTALL.runner.grace_seconds)
KEEPS = tenant(workspace={})
TALK: dict[str, Any] = {"lifecycle": "LongRunning", "followUps": [{"id": "a", "prompt": "A"}]}
GONE_ON = continued_uuid(turn_uuid(UID, "prompt"))


def seen(**fields: Any) -> Observed:
    return observed(tenant=KEEPS, **fields)


def reason(made: Plan, type_: str = "Suspended") -> str | None:
    found = condition(made.status.conditions, type_)
    return f"{found.status} {found.reason}" if found is not None else None


def states(made: Plan) -> dict[str, str]:
    return {turn.id: turn.state for turn in made.status.turns}


def working(phase: str = "Running", **spec: Any) -> AgentSessionStatus:
    """A session in its first turn, or after it, with its files on a claim."""
    return plan(session(**spec), seen(pod=pod(), runner=runner("Ready", said(phase=phase)))).status


def leaving(**spec: Any) -> AgentSessionStatus:
    """The same once its suspension has begun."""
    busy = seen(pod=pod(), runner=runner("Ready", said(phase="Running")))
    return plan(session(working(**spec), suspend=True, **spec), busy).status


def suspended(state: str = "Interrupted", **spec: Any) -> AgentSessionStatus:
    """The same without a runner."""
    status = leaving(**spec).model_copy(update={"turns": [known(state=state)]})
    return plan(session(status, suspend=True, **spec), seen()).status


class TestBeforeTheStart:
    """Held back: nothing is made, nothing is taken."""

    @pytest.mark.parametrize("what", [observed(), observed(tenant=None), observed(free_slots=0)])
    def test_no_pod_is_made(self, what: Observed) -> None:
        made = plan(session(suspend=True), what)
        assert (made.actions, made.requeue_after, made.status.phase) == ([], None, "Suspended")
        assert reason(made) == "True Suspended"
        assert [reason(made, type_) for type_ in ("Ready", "Reconciling", "Stalled")] == [None] * 3

    def test_what_can_never_work_is_said_all_the_same(self) -> None:
        made = plan(session(suspend=True, runtime={"image": "evil:1"}), observed())
        assert reason(made, "Stalled") == "True ImageNotAllowed"

    def test_it_starts_as_if_it_were_new(self) -> None:
        held = plan(session(suspend=True), observed()).status
        made = plan(session(held), observed())
        assert (kinds(made), made.status.start_type, reason(made)) == ([CreateRunner], "Cold", None)

    @pytest.mark.parametrize(
        "what", [observed(pod=pod(running=False, ip=None)), observed(pod=pod()), observed(pod=pod(), runner=runner())]
    )
    def test_a_runner_that_was_asked_nothing_needs_no_workspace(self, what: Observed) -> None:
        told = plan(session(suspend=True), what)
        assert (told.actions, told.status.phase, reason(told)) == ([], "Suspending", "False Suspending")
        made = plan(session(told.status, suspend=True), what)
        assert made.actions == [DeleteRunner(("n", "s-11111111"), "p-1")]
        cut = plan(session(told.status, suspend=True), replace(what, widened_by="open"))
        assert cut.actions == [DeleteRunner(("n", "s-11111111"), "p-1", CUT_OFF)]
        assert plan(session(made.status, suspend=True), observed()).status.phase == "Suspended"


class TestOnTheWay:
    """From a running turn to no pod."""

    busy = seen(pod=pod(), runner=runner("Ready", said(phase="Running")))

    def test_first_it_is_said_and_then_the_runner_is_drained(self) -> None:
        made = plan(session(working(), suspend=True), self.busy)
        assert made.actions == [Listen("p-1", "10.0.0.9"), Drain("p-1", "10.0.0.9")]
        assert (made.status.phase, states(made)) == ("Suspending", {"prompt": "Running"})
        assert reason(made, "Ready") == "False Suspending"
        assert reason(made, "Reconciling") == "True Suspending"

    @pytest.mark.parametrize("keeps", [True, False])
    def test_what_a_warm_runner_was_asked_is_told_before_it_is_drained(self, *, keeps: bool) -> None:
        busy = self.busy if keeps else replace(self.busy, tenant=tenant())
        told = plan(session(suspend=True), busy)
        assert (kinds(told), told.status.phase, states(told)) == ([Listen], "Running", {"prompt": "Running"})
        assert (told.status.workspace is not None) == keeps
        made = plan(session(told.status, suspend=True), busy)
        assert (Drain in kinds(made), made.status.phase) == ((True, "Suspending") if keeps else (False, "Running"))

    def test_the_drain_is_asked_for_until_its_end_is_heard(self) -> None:
        for runner_ in (None, runner("Ready", said(phase="Running")), runner("Draining", said(phase="Running"))):
            made = plan(session(leaving(), suspend=True), seen(pod=pod(), runner=runner_))
            assert (kinds(made), made.requeue_after) == ([Listen, Drain], timedelta(seconds=1))

    @pytest.mark.parametrize(
        ("turn", "state"), [("Interrupted", "Interrupted"), ("Completed", "Completed"), ("Failed", "Failed")]
    )
    def test_what_the_runner_said_at_last_is_written_before_its_pod_goes(self, turn: str, state: str) -> None:
        drained = seen(pod=pod(), runner=runner("Draining", said(phase=turn)))
        told = plan(session(leaving(**TALK), suspend=True, **TALK), drained)
        assert (told.actions, told.requeue_after, states(told)) == ([], timedelta(0), {"prompt": state})
        made = plan(session(told.status, suspend=True, **TALK), drained)
        assert made.actions == [DeleteRunner(("n", "s-11111111"), "p-1")]
        assert made.status == told.status

    def test_a_turn_that_the_runner_never_heard_of_is_asked_later_as_it_was_to_be(self) -> None:
        told = plan(session(leaving(), suspend=True), seen(pod=pod(), runner=runner("Draining")))
        assert told.status.turns == []
        resumed = plan(session(told.status), seen(pod=pod(), runner=runner()))
        assert [action.uuid for action in resumed.actions if isinstance(action, Prompt)] == []  # its pod goes first
        fresh = told.status.model_copy(update={"conditions": []})
        asked = plan(session(fresh), seen(pod=pod(), runner=runner()))
        assert [(a.uuid, a.text) for a in asked.actions if isinstance(a, Prompt)] == [
            (turn_uuid(UID, "prompt"), "hello")
        ]

    @pytest.mark.parametrize(
        ("what", "later"),
        [
            (seen(pod=pod()), GRACE),
            (seen(pod=pod(), runner=runner("Ready", said(phase="Running"))), GRACE),
            (seen(pod=pod(), runner=runner("Draining", said(phase="Running"))), 10 * GRACE),
            (seen(pod=pod(node_silent=True)), GRACE),
            (seen(pod=pod(running=False)), timedelta(0)),
            (seen(pod=ended_pod("RunnerExited")), timedelta(0)),
            (seen(pod=ended_pod("RunnerOutOfMemory")), timedelta(0)),
            (seen(), timedelta(0)),
        ],
    )
    def test_without_its_word_the_turn_counts_as_asked(self, what: Observed, later: timedelta) -> None:
        made = plan(session(leaving(), suspend=True), what, later)
        assert (made.actions, made.requeue_after, states(made)) == ([], timedelta(0), {"prompt": "Interrupted"})

    @pytest.mark.parametrize("state", ["Running", "Interrupted"])
    @pytest.mark.parametrize("going", [pod(), pod(deleting=True)])
    def test_a_policy_that_widens_ends_it_at_once(self, state: str, going: PodView) -> None:
        status = leaving().model_copy(update={"turns": [known(state=state)]})
        wide = seen(pod=going, runner=runner("Ready", said(phase=state)), widened_by="open")
        told = plan(session(status, suspend=True), wide)
        assert (told.actions, told.status.phase) == ([], "Failed")
        assert (reason(told, "Finished"), reason(told)) == (f"True {WIDENED}", None)
        made = plan(session(told.status, suspend=True), wide)
        assert made.actions == [DeleteRunner(("n", "s-11111111"), "p-1", CUT_OFF)]

    @pytest.mark.parametrize("left", [None, ended_pod("RunnerExited")])
    def test_a_policy_that_came_later_is_no_harm(self, left: PodView | None) -> None:
        status = leaving().model_copy(update={"turns": [known(state="Interrupted")]})
        made = plan(session(status, suspend=True), seen(pod=left, widened_by="open"))
        assert reason(made, "Finished") is None

    def test_a_runner_that_is_lost_meanwhile_is_no_loss(self) -> None:
        made = plan(session(working(), suspend=True), seen())
        assert (states(made), made.status.phase) == ({"prompt": "Interrupted"}, "Suspending")
        assert plan(session(made.status, suspend=True), seen()).status.phase == "Suspended"

    def test_an_idle_conversation_has_nothing_to_tell(self) -> None:
        idle = seen(pod=pod(), runner=runner("Ready", said()))
        told = plan(session(working("Completed", lifecycle="LongRunning"), suspend=True, lifecycle="LongRunning"), idle)
        assert (told.actions, states(told)) == ([], {"prompt": "Completed"})
        made = plan(session(told.status, suspend=True, lifecycle="LongRunning"), idle)
        assert kinds(made) == [DeleteRunner]

    def test_a_pod_that_is_going_is_waited_for(self) -> None:
        status = leaving().model_copy(update={"turns": [known(state="Interrupted")]})
        going = pod(gone_by=NOW + GRACE)
        made = plan(session(status, suspend=True), seen(pod=going))
        assert (made.actions, made.status.phase) == ([], "Suspending")

    def test_the_answer_of_an_ephemeral_session_is_its_end(self) -> None:
        made = plan(session(leaving(), suspend=True), seen(pod=pod(), runner=runner("Draining", said())))
        assert (made.status.phase, reason(made, "Finished")) == ("Succeeded", "True Completed")

    @pytest.mark.parametrize(
        ("what", "why"),
        [
            (observed(tenant=None, pod=pod()), "TenantDeleted"),
            (seen(pod=pod(), usage=[served(stopped="TurnLimit")]), "TurnLimitReached"),
            (seen(pod=ended_pod("WallClockExceeded")), "WallClockExceeded"),
            (seen(pod=pod(), widened_by="open"), WIDENED),
        ],
    )
    def test_a_limit_ends_it_all_the_same(self, what: Observed, why: str) -> None:
        made = plan(session(working(), suspend=True), what)
        assert (made.status.phase, reason(made, "Finished")) == ("Failed", f"True {why}")
        assert states(made) == {"prompt": "Failed"}

    def test_a_change_of_mind_is_heard_when_the_pod_is_gone(self) -> None:
        drained = seen(pod=pod(), runner=runner("Draining", said(phase="Interrupted")))
        told = plan(session(leaving()), drained)
        assert (told.status.phase, states(told)) == ("Suspending", {"prompt": "Interrupted"})
        assert kinds(plan(session(told.status), drained)) == [DeleteRunner]
        again = plan(session(told.status), seen())
        assert (kinds(again), again.status.start_type, reason(again)) == ([CreateRunner], "Resumed", "False Resuming")


class TestWithoutAWorkspace:
    """Nothing would be kept, so the session goes on and says so."""

    def status(self) -> AgentSessionStatus:
        return plan(session(), observed(pod=pod(), runner=runner("Ready", said(phase="Running")))).status

    def test_it_goes_on(self) -> None:
        busy = observed(pod=pod(), runner=runner("Ready", said(phase="Running")))
        made = plan(session(self.status(), suspend=True), busy)
        assert (kinds(made), made.status.phase) == ([Listen], "Running")
        assert reason(made, "Ready") == "True Connected"
        assert reason(made) == "False NoWorkspace"
        found = condition(made.status.conditions, "Suspended")
        assert found is not None
        assert "AgentTenant default has no spec.workspace" in found.message
        done = observed(pod=pod(), runner=runner("Ready", said()))
        assert reason(plan(session(made.status, suspend=True), done), "Finished") == "True Completed"

    def test_it_says_no_more_once_nobody_asks(self) -> None:
        busy = observed(pod=pod(), runner=runner("Ready", said(phase="Running")))
        told = plan(session(self.status(), suspend=True), busy).status
        assert reason(plan(session(told), busy)) is None

    def test_a_lost_runner_is_lost(self) -> None:
        made = plan(session(self.status(), suspend=True), observed())
        assert reason(made, "Finished") == "True RunnerLost"


class TestSuspended:
    """No runner, no slot, no readiness."""

    def test_it_says_where_everything_is_and_that_usage_is_complete(self) -> None:
        made = plan(
            session(leaving(**TALK).model_copy(update={"turns": [known(state="Completed")]}), suspend=True, **TALK),
            seen(),
        )
        assert made.settle_usage
        assert (made.actions, made.requeue_after, made.status.phase, made.status.pod_name) == (
            [],
            None,
            "Suspended",
            None,
        )
        found = condition(made.status.conditions, "Suspended")
        assert found is not None
        assert found.message.startswith("files and conversation are on PersistentVolumeClaim agentsession-default")
        assert {item.type for item in made.status.conditions} == {"Accepted", "Suspended"}
        again = plan(session(made.status, suspend=True, **TALK), seen())
        assert (again.status, again.settle_usage, again.actions) == (made.status, False, [])

    def test_a_follow_up_waits(self) -> None:
        made = plan(session(suspended("Completed", **TALK), suspend=True, **TALK), seen())
        assert (made.actions, states(made)) == ([], {"prompt": "Completed"})

    def test_what_was_settled_is_no_estimate_when_its_process_goes_later(self) -> None:
        status = suspended()
        billed = plan(session(status, suspend=True), seen(usage=[served("e-1", 5)])).status
        assert billed.usage is not None
        assert [meter.settled for meter in billed.usage.meters] == [True]
        busy = runner("Ready", TurnState(uuid=GONE_ON, phase="Running"))
        on = billed.model_copy(update={"turns": [gone_on(known())], "conditions": []})
        later = plan(session(on), seen(pod=pod(), runner=busy, usage=[served("e-1", 5), served("e-2", 2)])).status
        assert later.usage is not None
        assert [(m.incarnation, m.settled) for m in later.usage.meters] == [("e-1", True), ("e-2", False)]
        more = plan(session(later), seen(pod=pod(), runner=busy, usage=[served("e-1", 6)])).status
        assert more.usage is not None
        assert [(m.incarnation, m.settled) for m in more.usage.meters] == [("e-1", False), ("e-2", False)]


def gone_on(turn: Turn) -> Turn:
    return turn.model_copy(update={"uuid": GONE_ON})


class TestResuming:
    """A new runner takes up where the last one was cut off."""

    @pytest.mark.parametrize(
        ("what", "why"),
        [
            (observed(tenant=None), "TenantNotFound"),
            (seen(free_slots=0), "TenantAtCapacity"),
            (seen(namespace_ready=False), "NamespaceNotReady"),
            (seen(pod=pod(running=False, ip=None)), "Starting"),
            (seen(pod=pod()), "Starting"),
            (seen(pod=pod(), runner=runner("Starting", bound=False)), "Starting"),
            (seen(pod=ended_pod("NotContained")), "NotContained"),
        ],
    )
    def test_until_it_has_a_runner_nothing_is_lost(self, what: Observed, why: str) -> None:
        status = suspended()
        for _ in range(2):
            made = plan(session(status), what)
            assert (reason(made, "Ready"), reason(made)) == (f"False {why}", "False Resuming")
            assert states(made) == {"prompt": "Interrupted"}
            status = made.status

    def test_the_interrupted_turn_is_gone_on_with_under_an_id_of_its_own(self) -> None:
        made = plan(session(suspended()), seen(pod=pod(uid="p-2"), runner=runner(bound=False)))
        assert (made.actions, made.at_once) == ([Bind("p-2", "10.0.0.9")], True)
        made = plan(session(suspended()), seen(pod=pod(uid="p-2"), runner=runner()))
        assert made.actions == [
            Listen("p-2", "10.0.0.9"),
            Prompt("p-2", "10.0.0.9", GONE_ON, GO_ON),
        ]
        (turn,) = made.status.turns
        assert (turn.id, turn.uuid, turn.state, turn.finished) == ("prompt", GONE_ON, "Running", None)
        assert (reason(made, "Ready"), reason(made)) == ("True Connected", None)
        assert made.status.workspace == WorkspaceStatus(claim_name="agentsession-default", sub_path="w-p-1")
        busy = seen(pod=pod(uid="p-2"), runner=runner("Ready", TurnState(uuid=GONE_ON, phase="Running")))
        assert kinds(plan(session(made.status), busy)) == [Listen]
        lost_answer = plan(session(made.status), seen(pod=pod(uid="p-2"), runner=runner()))
        assert [(a.uuid, a.text) for a in lost_answer.actions if isinstance(a, Prompt)] == [(GONE_ON, GO_ON)]
        answered = runner("Ready", TurnState(uuid=GONE_ON, phase="Completed", text="done"))
        done = plan(session(made.status), seen(pod=pod(uid="p-2"), runner=answered)).status
        assert (done.phase, done.turns[0].text, done.result and done.result.text) == ("Succeeded", "done", "done")

    def test_the_old_turns_uuid_says_nothing_any_more(self) -> None:
        status = suspended().model_copy(update={"turns": [gone_on(known())], "conditions": []})
        stale = plan(session(status), seen(pod=pod(), runner=runner("Ready", said())))
        assert states(stale) == {"prompt": "Running"}

    def test_a_turn_is_interrupted_twice(self) -> None:
        status = leaving().model_copy(update={"turns": [gone_on(known())]})
        cut = runner("Draining", TurnState(uuid=GONE_ON, phase="Interrupted"))
        made = plan(session(status, suspend=True), seen(pod=pod(), runner=cut))
        assert [(turn.uuid, turn.state) for turn in made.status.turns] == [(GONE_ON, "Interrupted")]
        never_asked = plan(session(status, suspend=True), seen(pod=pod(), runner=runner("Draining")))
        assert states(never_asked) == {"prompt": "Interrupted"}, "its first half was asked"

    def test_follow_ups_come_after_what_was_cut_off(self) -> None:
        on = plan(session(suspended(**TALK), **TALK), seen(pod=pod(), runner=runner()))
        assert [a.text for a in on.actions if isinstance(a, Prompt)] == [GO_ON]
        answered = runner("Ready", TurnState(uuid=GONE_ON, phase="Completed", text="done"))
        then = plan(session(on.status, **TALK), seen(pod=pod(), runner=answered))
        assert [a.text for a in then.actions if isinstance(a, Prompt)] == ["A"]
        assert states(then) == {"prompt": "Completed", "a": "Running"}

    def test_a_conversation_that_cannot_be_taken_up_is_an_end_and_no_fresh_start(self) -> None:
        failed = runner("Failed", bound=False, message="No conversation found with session ID: c-1")
        made = plan(session(suspended()), seen(pod=pod(uid="p-2"), runner=failed))
        assert (made.status.phase, reason(made, "Finished")) == ("Failed", "True ResumeFailed")
        assert "No conversation found" in str(condition(made.status.conditions, "Ready"))

    def test_a_runner_that_is_lost_after_it_took_up_is_lost(self) -> None:
        on = plan(session(suspended()), seen(pod=pod(uid="p-2"), runner=runner())).status
        assert reason(plan(session(on), seen()), "Finished") == "True RunnerLost"

    def test_it_may_be_suspended_again_on_its_way(self) -> None:
        starting = plan(session(suspended()), seen(pod=pod(uid="p-2", running=False))).status
        told = plan(session(starting, suspend=True), seen(pod=pod(uid="p-2", running=False)))
        assert (states(told), reason(told)) == ({"prompt": "Interrupted"}, "False Suspending")
        made = plan(session(told.status, suspend=True), seen(pod=pod(uid="p-2", running=False)))
        assert made.actions == [DeleteRunner(("n", "s-11111111"), "p-2")]
