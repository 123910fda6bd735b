"""Which changes of status people are told of."""

import pytest

from agentsession.api.session import AgentSessionStatus
from agentsession.sessions.announce import announcements
from agentsession.sessions.decide import decide
from agentsession.sessions.observed import Observed

from .build import INSTALL, NOW, ended_pod, known, observed, pod, runner, said, session, tenant

pytestmark = pytest.mark.unit


def told(before: AgentSessionStatus, seen: Observed, **spec: object) -> list[tuple[str, str]]:
    after = decide(session(before, **spec), seen, INSTALL, NOW).status
    return [(item.severity, item.reason) for item in announcements(before, after)]


NEW = AgentSessionStatus()


def test_steps_on_the_way_are_not_told() -> None:
    assert told(NEW, observed()) == []
    assert told(NEW, observed(namespace_ready=False)) == []
    fresh = tenant()
    fresh.metadata.generation = 2
    assert told(NEW, observed(tenant=fresh)) == []


def test_trouble_is_told_once() -> None:
    assert told(NEW, observed(tenant=None)) == [("Warning", "TenantNotFound")]
    again = decide(session(), observed(tenant=None), INSTALL, NOW).status
    assert told(again, observed(tenant=None)) == []
    assert told(again, observed(tenant=tenant(ready=False))) == [("Warning", "TenantNotReady")]


def test_a_suspension_is_told_once_when_it_is_done() -> None:
    keeps = tenant(workspace={})
    busy = observed(tenant=keeps, pod=pod(), runner=runner("Ready", said(phase="Running")))
    working = decide(session(), busy, INSTALL, NOW).status
    assert told(working, busy, suspend=True) == []
    leaving = decide(session(working, suspend=True), observed(tenant=keeps), INSTALL, NOW).status
    assert told(leaving, observed(tenant=keeps), suspend=True) == [("Normal", "Suspended")]
    suspended = decide(session(leaving, suspend=True), observed(tenant=keeps), INSTALL, NOW).status
    assert told(suspended, observed(tenant=keeps), suspend=True) == []
    assert told(suspended, observed(tenant=keeps)) == []
    assert told(suspended, observed(tenant=keeps, pod=pod(), runner=runner())) == [("Normal", "Connected")]


def test_a_suspension_that_would_lose_everything_is_told() -> None:
    busy = observed(pod=pod(), runner=runner("Ready", said(phase="Running")))
    working = decide(session(), busy, INSTALL, NOW).status
    assert told(working, busy, suspend=True) == [("Warning", "NoWorkspace")]


def test_waiting_for_others_is_nothing_to_worry_about() -> None:
    assert told(NEW, observed(free_slots=0)) == [("Normal", "TenantAtCapacity")]


def test_a_good_way_is_told_in_two_events() -> None:
    busy = observed(pod=pod(), runner=runner("Ready", said(phase="Running")))
    bound = decide(session(), busy, INSTALL, NOW).status
    assert told(NEW, busy) == [("Normal", "Connected")]
    assert told(bound, observed(pod=pod(), runner=runner("Ready", said()))) == [("Normal", "Completed")]


@pytest.mark.parametrize(
    "seen",
    [
        observed(pod=pod(), runner=runner("Ready", said(phase="Failed", reason="SECRET"))),
        observed(pod=pod(), runner=runner("Failed", message="SECRET")),
    ],
)
def test_what_the_agent_says_stays_out(seen: Observed) -> None:
    before = AgentSessionStatus(turns=[known()])
    after = decide(session(before), seen, INSTALL, NOW).status
    events = announcements(before, after)
    assert [event.severity for event in events] == ["Warning"]
    assert "SECRET" not in events[0].message
    assert "status.result" in events[0].message


def test_the_last_word_says_that_it_is_final() -> None:
    before = AgentSessionStatus(turns=[known()])
    after = decide(session(before), observed(pod=ended_pod("RunnerOutOfMemory")), INSTALL, NOW).status
    assert announcements(before, after)[0].message.endswith("(final)")
