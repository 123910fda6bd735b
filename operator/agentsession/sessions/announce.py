"""Which transitions people are told of as Events: what the conditions say, once, in one line."""

from agentsession.api.base import condition
from agentsession.api.conditions import READY, STALLED, SUSPENDED
from agentsession.api.session import AgentSessionStatus
from agentsession.kube.events import Announcement

QUIET = {"Starting", "Suspending", "TenantPending", "NamespaceNotReady"}
"""Steps on the way that say nothing new to anybody."""
EXPECTED = {"Connected", "Completed", "TenantAtCapacity", "PoolExhausted", "ColdStart"}


def announcements(before: AgentSessionStatus, after: AgentSessionStatus) -> list[Announcement]:
    """The Events for a change of status: one when the reason of Ready or Suspended changes, none for steps on the way.

    What the agent itself says stays out: Events carry no session text.
    """
    return [*_of_ready(before, after), *_of_suspended(before, after)]


def _of_suspended(before: AgentSessionStatus, after: AgentSessionStatus) -> list[Announcement]:
    old, new = condition(before.conditions, SUSPENDED), condition(after.conditions, SUSPENDED)
    if new is None or new.reason not in ("Suspended", "NoWorkspace") or (old is not None and old.reason == new.reason):
        return []
    return [Announcement("Normal" if new.status == "True" else "Warning", new.reason, new.message)]


def _of_ready(before: AgentSessionStatus, after: AgentSessionStatus) -> list[Announcement]:
    old, new = condition(before.conditions, READY), condition(after.conditions, READY)
    if new is None or new.reason in QUIET or (old is not None and old.reason == new.reason):
        return []
    message = new.message
    if new.reason in ("TurnFailed", "AgentFailed"):
        message = "the agent ended without an answer: see status.result and status.turns"
    if condition(after.conditions, STALLED) is not None:
        message = f"{message} (final)"
    return [Announcement("Normal" if new.reason in EXPECTED else "Warning", new.reason, message)]
