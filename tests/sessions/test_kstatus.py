"""Tools that know nothing of sessions judge them rightly at each step of their way."""

from datetime import timedelta
from typing import Any

import pytest

from agentsession.api.base import to_json
from agentsession.api.session import AgentSession, AgentSessionStatus, WorkspaceStatus
from agentsession.runners.trouble import Trouble
from agentsession.sessions import report
from agentsession.sessions.decide import decide
from agentsession.sessions.observed import Observed
from tests.kstatus import Verdict, kstatus

from .build import INSTALL, NOW, known, observed, pod, runner, said, session, tenant

pytestmark = pytest.mark.unit

TALK: dict[str, Any] = {"lifecycle": "LongRunning"}
WORKING = AgentSessionStatus(turns=[known()])


def verdict(made: AgentSession, status: AgentSessionStatus) -> Verdict:
    metadata = {"generation": made.metadata.generation}
    return kstatus({"metadata": metadata, "status": to_json(status)})


def after(made: AgentSession, seen: Observed) -> Verdict:
    return verdict(made, decide(made, seen, INSTALL, NOW).status)


def test_one_that_no_operator_has_seen_is_in_progress() -> None:
    assert verdict(session(), AgentSessionStatus()) == "InProgress"


@pytest.mark.parametrize(
    ("phase", "seen"),
    [
        ("Pending", observed(tenant=None)),
        ("Pending", observed(free_slots=0)),
        ("Starting", observed()),
        ("Starting", observed(pod=pod(running=False, ip=None))),
        ("Starting", observed(pod=pod(running=False, ip=None, trouble=Trouble("Unschedulable", "no node")))),
    ],
)
def test_one_on_its_way_is_in_progress(phase: str, seen: Observed) -> None:
    assert decide(session(), seen, INSTALL, NOW).status.phase == phase
    assert after(session(), seen) == "InProgress"


@pytest.mark.parametrize(
    ("phase", "made", "seen"),
    [
        ("Running", session(), observed(pod=pod(), runner=runner())),
        ("Idle", session(**TALK), observed(pod=pod(), runner=runner("Ready", said()))),
        ("Suspended", session(suspend=True, **TALK), observed()),
        ("Succeeded", session(WORKING), observed(pod=pod(), runner=runner("Ready", said()))),
        ("Suspended", session(suspend=True), observed()),
        ("Running", session(WORKING, suspend=True), observed(pod=pod(), runner=runner())),
    ],
)
def test_one_that_does_what_it_should_is_current(phase: str, made: AgentSession, seen: Observed) -> None:
    assert decide(made, seen, INSTALL, NOW).status.phase == phase
    assert after(made, seen) == "Current"


def test_one_whose_runner_is_leaving_is_in_progress() -> None:
    kept = WORKING.model_copy(update={"workspace": WorkspaceStatus(claim_name="c", sub_path="w-1")})
    made = session(kept, suspend=True)
    assert decide(made, observed(pod=pod(), runner=runner()), INSTALL, NOW).status.phase == "Suspending"
    assert after(made, observed(pod=pod(), runner=runner())) == "InProgress"


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        (session(runtime={"image": "other:1"}), observed()),
        (session(WORKING), observed()),
        (session(WORKING), observed(pod=pod(), runner=runner("Ready", said(phase="Failed")))),
        (
            session(WORKING),
            observed(pod=pod(started=NOW - timedelta(hours=2), deadline=timedelta(hours=9)), runner=runner()),
        ),
        (session(WORKING), observed(tenant=None, pod=pod())),
    ],
)
def test_one_that_will_not_get_there_has_failed(made: AgentSession, seen: Observed) -> None:
    assert after(made, seen) == "Failed"


def test_a_stored_spec_that_cannot_be_read_has_failed() -> None:
    status = report.refused(session(), Trouble("InvalidSpec", "spec.agent: Field required"), NOW)
    assert verdict(session(), status) == "Failed"


def test_a_change_is_in_progress_until_it_was_seen() -> None:
    seen = observed(pod=pod(), runner=runner("Ready", said()))
    idle = decide(session(**TALK), seen, INSTALL, NOW).status
    changed = session(idle, **TALK)
    changed.metadata.generation = 2
    assert verdict(changed, idle) == "InProgress"
    assert after(changed, seen) == "Current"


def test_a_model_that_the_tenant_does_not_have_is_waited_for() -> None:
    assert after(session(), observed(tenant=tenant(models=("other",)))) == "InProgress"
