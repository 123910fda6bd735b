"""Conditions: types, and setting one without losing when it last changed. One reason has one meaning everywhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .base import Condition, condition

ACCEPTED = "Accepted"
"""The spec is one that can ever work."""
RESOLVED_REFS = "ResolvedRefs"
"""Everything the spec names exists and may be used."""
CONTAINED = "Contained"
"""The runner was seen to reach the egress plane and nothing else."""
READY = "Ready"
"""Session: the agent is connected and has accepted work, or finished well. Tenant: sessions can use it."""
ACTIVE = "Active"
"""A turn is under way."""
SUSPENDED = "Suspended"
"""The session has no runner because spec.suspend asks for it. Absent where nobody asks."""
FINISHED = "Finished"
"""Nothing more will happen."""
AVAILABLE = "Available"
"""Pool: a session would be given a runner now, or the pool is to have none."""
PROGRESSING = "Progressing"
"""Pool: runners of an older template are being replaced, or it is being filled for the first time."""
EXHAUSTED = "Exhausted"
"""Pool: sessions wait for a runner of it."""
DEGRADED = "Degraded"
"""Pool: runners do not get on, or are refused."""
RECONCILING = "Reconciling"
"""kstatus: the object is on its way to what the spec asks. Present only while True."""
STALLED = "Stalled"
"""kstatus: nothing will change until somebody acts. Present only while True."""

MAX_MESSAGE = 1024


@dataclass(frozen=True)
class Mark:
    """A condition as a decision states it: no times, no generation."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    """It becomes one line, as in an Event: the API server's own words may be several."""


def unready_since(conditions: Sequence[Condition]) -> datetime | None:
    """Since when Ready has not been True; None if it is, or was never judged."""
    ready = condition(conditions, READY)
    return ready.last_transition_time if ready is not None and ready.status != "True" else None


def since(conditions: Sequence[Condition], type_: str, status: Literal["True", "False"]) -> datetime | None:
    """Since when that condition has had that status; None if it has not."""
    found = condition(conditions, type_)
    return found.last_transition_time if found is not None and found.status == status else None


def mark(previous: Sequence[Condition], marks: Iterable[Mark], generation: int, now: datetime) -> list[Condition]:
    """The whole next list of conditions; those not marked are gone. A transition time moves only with the status."""
    now = now.replace(microsecond=0)
    result = []
    for item in marks:
        before = condition(previous, item.type)
        unchanged = before is not None and before.status == item.status
        result.append(
            Condition(
                type=item.type,
                status=item.status,
                reason=item.reason,
                message=" ".join(item.message.split())[:MAX_MESSAGE],
                observed_generation=generation,
                last_transition_time=before.last_transition_time if before is not None and unchanged else now,
            )
        )
    return sorted(result, key=lambda c: c.type)
