"""What a pool's status says. Pure."""

from dataclasses import dataclass
from datetime import datetime

from agentsession.api.base import condition
from agentsession.api.conditions import (
    ACCEPTED,
    AVAILABLE,
    DEGRADED,
    EXHAUSTED,
    PROGRESSING,
    RECONCILING,
    RESOLVED_REFS,
    STALLED,
    Mark,
    mark,
)
from agentsession.api.pool import AgentPool, AgentPoolStatus
from agentsession.resources.names import POOL_LABEL, SESSION_LABEL
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import Trouble

from .observed import Observed


@dataclass(frozen=True)
class Counts:
    """The pool in numbers. present: unclaimed runners that are to stay, `stale` of them or of those that go."""

    present: list[PodView]
    stale: int
    claimed: int
    waiting: int
    desired: int

    @property
    def ready(self) -> int:
        return sum(pod.ready for pod in self.present)


def refused(pool: AgentPool, why: Trouble, now: datetime) -> AgentPoolStatus:
    """The template can never be a runner here."""
    return _status(
        pool, [Mark(ACCEPTED, "False", why.reason, why.message), Mark(STALLED, "True", why.reason, why.message)], now
    )


def unresolved(pool: AgentPool, why: Trouble, now: datetime) -> AgentPoolStatus:
    """Something is not there that runners need: its appearing brings the pool back."""
    marks = [
        Mark(ACCEPTED, "True", "Accepted"),
        Mark(RESOLVED_REFS, "False", why.reason, why.message),
        Mark(RECONCILING, "True", why.reason, why.message),
    ]
    return _status(pool, marks, now)


def running(pool: AgentPool, seen: Observed, counts: Counts, now: datetime) -> AgentPoolStatus:
    """How many runners there are, and what keeps it from more."""
    trouble = seen.refused.why if seen.refused is not None else None
    trouble = trouble or next((pod.trouble for pod in counts.present if pod.trouble is not None), None)
    marks = [
        Mark(ACCEPTED, "True", "Accepted"),
        Mark(RESOLVED_REFS, "True", "ResolvedRefs"),
        _available(counts),
        *_progressing(pool, counts),
        _exhausted(pool, counts),
        Mark(DEGRADED, "True", trouble.reason, trouble.message) if trouble else Mark(DEGRADED, "False", "NoTrouble"),
    ]
    status = _status(pool, marks, now)
    status.replicas = len(counts.present)
    status.ready_replicas = counts.ready
    status.claimed_replicas = counts.claimed
    status.updated_replicas = sum(
        pod.membership is not None and pod.membership.revision == seen.revision for pod in counts.present
    )
    status.desired_replicas = counts.desired
    status.now_serving = seen.now_serving
    status.revision = seen.revision
    status.selector = f"{POOL_LABEL}={pool.metadata.uid},!{SESSION_LABEL}"
    return status


def _available(counts: Counts) -> Mark:
    if counts.ready or not counts.desired:
        return Mark(AVAILABLE, "True", "RunnersReady")
    return Mark(AVAILABLE, "False", "NoRunnerReady", "no runner is ready: sessions start cold, or wait")


def _progressing(pool: AgentPool, counts: Counts) -> list[Mark]:
    """A rollout or a first filling; that claimed runners are replaced is a pool's daily life."""
    before = condition(pool.status.conditions, AVAILABLE)
    filled = before is not None and before.observed_generation == pool.metadata.generation
    if counts.stale:
        why = "runners of an older template, or too old, are being replaced"
        return [Mark(PROGRESSING, "True", "RollingOut", why), Mark(RECONCILING, "True", "RollingOut", why)]
    if counts.ready < counts.desired and not (filled and before is not None and before.status == "True"):
        why = "runners are being made"
        return [Mark(PROGRESSING, "True", "Filling", why), Mark(RECONCILING, "True", "Filling", why)]
    return [Mark(PROGRESSING, "False", "Settled")]


def _exhausted(pool: AgentPool, counts: Counts) -> Mark:
    if counts.waiting:
        field = "spec.scaling.max" if pool.spec.scaling.mode == "Auto" else "spec.replicas"
        return Mark(EXHAUSTED, "True", "SessionsWait", f"sessions wait for a runner: raise {field} if this lasts")
    return Mark(EXHAUSTED, "False", "NobodyWaits")


def _status(pool: AgentPool, marks: list[Mark], now: datetime) -> AgentPoolStatus:
    generation = pool.metadata.generation
    conditions = mark(pool.status.conditions, marks, generation, now)
    return pool.status.model_copy(update={"observed_generation": generation, "conditions": conditions})
