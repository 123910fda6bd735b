"""The decision: which runners a pool makes and which it lets go, and what its status says. Pure.

A runner that ends before anybody claims it keeps its place for a while: what cannot start is not hammered.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agentsession.api.conditions import DEGRADED, since
from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool, AgentPoolStatus
from agentsession.api.values import parse_duration
from agentsession.kube.refusals import next_try
from agentsession.runners.podview import PodView
from agentsession.runners.requirements import impossible
from agentsession.runners.trouble import Trouble

from .observed import Observed, Refused
from .report import Counts, refused, running, unresolved

ENDED_HOLDS = timedelta(seconds=30)
"""How long a runner that ended keeps its place."""

LULL = timedelta(seconds=0.25)
"""How long after a claim the next is awaited. As long as the runners that are ready are more than the claims that came
in the time that a new one takes to start, the API server is left to claims."""
RESIZE = timedelta(seconds=10)
"""How soon a pool that sizes itself looks again, though nobody came."""


@dataclass(frozen=True)
class Plan:
    """One step: runners to make, runners to delete, and the status after that."""

    status: AgentPoolStatus
    create: int = 0
    delete: list[PodView] = field(default_factory=list)
    gently: bool = False
    """Claims come meanwhile."""
    requeue_after: timedelta | None = None


def decide(pool: AgentPool, seen: Observed, install: Installation, now: datetime) -> Plan:
    """One step towards `spec.replicas` runners of the current revision."""
    if (wrong := impossible(pool.spec.template, install, "spec.template") or _unlisted(pool, install)) is not None:
        return Plan(refused(pool, wrong, now), delete=_living(seen.runners))
    if seen.unresolved is not None:
        return Plan(unresolved(pool, seen.unresolved, now))
    present = [pod for pod in seen.runners if not pod.deleting and not _forgotten(pod, now)]
    youth = parse_duration(pool.spec.recycle.max_age)
    fit = {pod.uid for pod in present if pod.made_for(pool.metadata.uid, seen.revision) and _age(pod, now) < youth}
    current, stale = [pod for pod in present if pod.uid in fit], [pod for pod in present if pod.uid not in fit]
    desired = _desired(pool, seen)
    leaving = _surplus(present, fit, desired) or _replaced(current, stale, desired, pool.spec.update.max_unavailable)
    gone = [pod for pod in seen.runners if pod.ended and not pod.deleting and _forgotten(pod, now)]
    missing = max(0, desired - (len(present) - len(leaving)))
    left = {pod.uid for pod in leaving}
    counts = Counts(
        present=[pod for pod in present if pod.uid not in left],
        stale=len(stale),
        claimed=seen.claimed,
        waiting=seen.waiting,
        desired=desired,
    )
    held = _refused_until(pool, seen.refused) - now if missing and seen.refused is not None else timedelta(0)
    claimed = seen.last_claim
    lull = claimed + LULL - now if claimed is not None and claimed <= now else timedelta(0)  # clocks are put back
    if missing and not seen.refilling and counts.ready > max(seen.waiting, seen.recent_claims):
        held = max(held, lull)
    hold = held > timedelta(0)
    resize = RESIZE if pool.spec.scaling.mode == "Auto" else None
    again = _soonest(held if hold else None, resize, *_due(youth, seen.runners, now))
    create = 0 if hold else missing
    return Plan(running(pool, seen, counts, now), create, [*leaving, *gone], lull > timedelta(0), again)


def _refused_until(pool: AgentPool, refused: Refused) -> datetime:
    """When a pod is tried again that the API server refused, as for a quota."""
    return refused.at + next_try(since(pool.status.conditions, DEGRADED, "True"), refused.at)


def _unlisted(pool: AgentPool, install: Installation) -> Trouble | None:
    namespace = pool.metadata.namespace
    if pool.spec.tenant is not None or namespace in install.shared_pool_namespaces:
        return None
    why = f"spec.allowedNamespaces: namespace {namespace} is not one for shared pools"
    return Trouble(
        "NamespaceNotAllowed", f"{why}: have the installer list it under the chart's value pools.sharedNamespaces"
    )


def _desired(pool: AgentPool, seen: Observed) -> int:
    """Whoever waits has come before, and is not among what is to be expected."""
    scaling = pool.spec.scaling
    match scaling.mode:
        case "Fixed":
            return pool.spec.replicas
        case "External":
            asked = pool.spec.replicas
        case "Auto":
            asked = seen.demand + seen.waiting
    return min(max(asked, scaling.min), scaling.max)


def _living(runners: Iterable[PodView]) -> list[PodView]:
    return [pod for pod in runners if not pod.deleting]


def _forgotten(pod: PodView, now: datetime) -> bool:
    return pod.ended and now - (pod.ended_at or pod.created or now) >= ENDED_HOLDS


def _age(pod: PodView, now: datetime) -> timedelta:
    return now - (pod.created or now)


def _surplus(present: list[PodView], fit: Collection[str], desired: int) -> list[PodView]:
    """Those above the desired number: stale ones first, then those that are not ready, then the youngest."""
    if (surplus := len(present) - desired) <= 0:
        return []
    return sorted(present, key=lambda pod: (pod.uid in fit, pod.ready, _negative(pod.created)))[:surplus]


def _negative(created: datetime | None) -> float:
    return -created.timestamp() if created is not None else 0.0


def _replaced(current: list[PodView], stale: list[PodView], desired: int, most: int) -> list[PodView]:
    """Stale runners to let go now: so many that no more than `most` of the desired are not ready because of it."""
    unready = [pod for pod in stale if not pod.ready]
    starting = sum(not pod.ready for pod in current) + max(0, desired - len(current) - len(stale))
    ready = [pod for pod in stale if pod.ready]
    return [*unready, *ready[: max(0, most - starting - len(unready))]]


def _due(youth: timedelta, runners: Iterable[PodView], now: datetime) -> Iterable[timedelta]:
    """When a runner's time comes by itself: it grows too old, or its place is free again."""
    for pod in _living(runners):
        if pod.ended:
            yield max(timedelta(0), ENDED_HOLDS - (now - (pod.ended_at or pod.created or now)))
        else:
            yield max(timedelta(seconds=1), youth - _age(pod, now))


def _soonest(*waits: timedelta | None) -> timedelta | None:
    return min((wait for wait in waits if wait is not None), default=None)
