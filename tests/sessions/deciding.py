"""Decisions of tests, and what they say, as short as it can be read."""

from datetime import timedelta
from typing import Any

from agentsession.api.base import condition
from agentsession.api.session import AgentSession
from agentsession.sessions.decide import decide
from agentsession.sessions.observed import Observed
from agentsession.sessions.plan import Plan

from .build import INSTALL, NOW

LONG_RUNNING: dict[str, Any] = {
    "lifecycle": "LongRunning",
    "followUps": [{"id": "a", "prompt": "A"}, {"id": "b", "prompt": "B"}],
}


def plan(who: AgentSession, seen: Observed, later: timedelta = timedelta(0)) -> Plan:
    """Decided so much later than NOW."""
    return decide(who, seen, INSTALL, NOW + later)


def reason(made: Plan, type_: str = "Ready") -> str | None:
    """Status and reason of a condition."""
    found = condition(made.status.conditions, type_)
    return f"{found.status} {found.reason}" if found is not None else None


def kinds(made: Plan) -> list[type]:
    """Of the actions, in order."""
    return [type(action) for action in made.actions]
