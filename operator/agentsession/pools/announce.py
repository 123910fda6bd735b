"""Which transitions of a pool people are told of as Events: what its conditions say, once, in one line."""

from collections.abc import Iterator

from agentsession.api.base import condition
from agentsession.api.conditions import AVAILABLE, DEGRADED, EXHAUSTED, RESOLVED_REFS, STALLED
from agentsession.api.pool import AgentPoolStatus
from agentsession.kube.events import Announcement

TROUBLE = {DEGRADED: "True", STALLED: "True", RESOLVED_REFS: "False", EXHAUSTED: "True"}
"""The status in which a condition says that something is wrong."""

QUIET = {"TenantPending", "NamespaceNotReady"}
"""Steps on the way that say nothing new to anybody."""


def announcements(before: AgentPoolStatus, after: AgentPoolStatus) -> Iterator[Announcement]:
    """One for each condition that begins to tell of trouble, or of another; and one when runners are ready at last."""
    for type_, wrong in TROUBLE.items():
        old, new = condition(before.conditions, type_), condition(after.conditions, type_)
        if (
            new is None
            or new.status != wrong
            or new.reason in QUIET
            or (old is not None and (old.status, old.reason) == (wrong, new.reason))
        ):
            continue
        yield Announcement("Warning", new.reason, new.message)
    old, new = condition(before.conditions, AVAILABLE), condition(after.conditions, AVAILABLE)
    if new is not None and new.status == "True" and (old is None or old.status != "True"):
        yield Announcement("Normal", new.reason, "sessions can claim runners")
