"""A tenant's sessions.maxConcurrent: counted from caches each time, so that there is no counter to lose. Pure.

A slot is held by a pod, until the pod is gone: what a tenant occupies is bounded, whatever its sessions say. Sessions
that could start but may not wait for the older ones, so that none is passed by.
"""

import heapq
from collections.abc import Collection, Iterable
from typing import NamedTuple

from agentsession.api.conditions import ACCEPTED, FINISHED, READY, RESOLVED_REFS
from agentsession.api.tenant import TenantSessions
from agentsession.kube.objects import KubeObject, condition_of, labels_of, uid_of
from agentsession.resources.names import SESSION_LABEL, TENANT_LABEL
from agentsession.runners.claimants import POOL_EXHAUSTED, age, suspended
from agentsession.runners.trouble import POD_REFUSED, WIDENED

AT_CAPACITY = "TenantAtCapacity"
OWN_FAULTS = {"ModelNotAllowed", "PromptNotFound"}
"""What a session lacks by itself. What its tenant lacks, all lack; when that is there, the oldest still comes first."""


class Slot(NamedTuple):
    """A pod that is being created or claimed, as the cache does not show it yet."""

    namespace: str
    tenant: str
    session_uid: str
    pod_name: str


def free_slots(
    session: KubeObject,
    sessions: Collection[KubeObject],
    pods: Collection[KubeObject],
    starting: Collection[Slot],
    most: int,
) -> int:
    """How many of its tenant's sessions may start now, seen from `session`: those that are older come first.

    sessions, pods: all of its namespace. starting: what the pods do not show yet. most: the tenant's maxConcurrent.
    If there is room for all of them, fewer may be told than there are.
    """
    if (room := most - len(sessions) - len(pods) - len(starting)) > 0:
        return room
    namespace, tenant = session["metadata"]["namespace"], tenant_of(session)
    running = {_serves(pod) for pod in pods if labels_of(pod).get(TENANT_LABEL) == tenant}
    running |= {slot.session_uid for slot in starting if (slot.namespace, slot.tenant) == (namespace, tenant)}
    ahead = sum(
        tenant_of(other) == tenant and age(other) < age(session) and _may_start(other) and uid_of(other) not in running
        for other in sessions
    )
    return most - len(running) - ahead


def next_waiting(sessions: Iterable[KubeObject], pods: Iterable[KubeObject], tenant: KubeObject) -> list[KubeObject]:
    """The sessions whose turn it is now: of those that wait at capacity, as many of the oldest as there are slots.

    sessions: of the tenant's namespace. pods: all of it.
    """
    name = tenant["metadata"]["name"]
    most = _most(tenant)
    free = most - sum(labels_of(pod).get(TENANT_LABEL) == name for pod in pods)
    waiting = (
        item
        for item in sessions
        if tenant_of(item) == name and condition_of(item, READY)[1] == AT_CAPACITY and not suspended(item)
    )
    return heapq.nsmallest(free, waiting, key=age)


def tenant_of(session: KubeObject) -> str:
    """The name of its AgentTenant; the default one also for a spec that cannot be read."""
    try:
        name = session["spec"]["tenantRef"]["name"]
    except (KeyError, TypeError):
        return "default"
    return name if isinstance(name, str) else "default"


def _most(tenant: KubeObject) -> int:
    try:
        most = tenant["spec"]["sessions"]["maxConcurrent"]
    except (KeyError, TypeError):
        return TenantSessions().max_concurrent
    return most if isinstance(most, int) else 0


def _may_start(session: KubeObject) -> bool:
    """Not so one that is suspended, or may not have a pod for its own reasons: it would hold up the younger ones."""
    return (
        condition_of(session, FINISHED)[0] != "True"
        and condition_of(session, ACCEPTED)[0] != "False"
        and condition_of(session, RESOLVED_REFS)[1] not in OWN_FAULTS
        and condition_of(session, READY)[1] not in (POD_REFUSED, WIDENED, POOL_EXHAUSTED)
        and not suspended(session)
        and "deletionTimestamp" not in session["metadata"]
    )


def _serves(pod: KubeObject) -> str:
    return labels_of(pod).get(SESSION_LABEL) or uid_of(pod)
