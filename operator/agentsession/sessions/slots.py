"""A tenant's sessions.maxConcurrent: counted from caches each time, so that there is no counter to lose. Pure.

A slot is held by a pod, until the pod is gone: what a tenant occupies is bounded, whatever its sessions say. Sessions
that could start but may not wait for the older ones, so that none is passed by.
"""

import heapq
from collections.abc import Collection, Iterable
from typing import NamedTuple

from agentsession.api.conditions import ACCEPTED, FINISHED, READY, RESOLVED_REFS
from agentsession.api.tenant import TenantSessions
from agentsession.kube.caches import Caches
from agentsession.kube.objects import Key, KubeObject, condition_of, key_of, labels_of, uid_of
from agentsession.resources.names import SESSION_LABEL, SESSION_NAMESPACE_LABEL, TENANT_LABEL
from agentsession.runners.claimants import POOL_EXHAUSTED, age, suspended
from agentsession.runners.trouble import POD_REFUSED, WIDENED

AT_CAPACITY = "TenantAtCapacity"
OWN_FAULTS = {"ModelNotAllowed", "PromptNotFound", "PoolNotFound", "SharedPoolNotAllowed"}
"""What a session lacks by itself. What its tenant lacks, all lack; when that is there, the oldest still comes first."""


class Slot(NamedTuple):
    """A pod that is being created or claimed, as the cache does not show it yet."""

    tenant: Key
    session_uid: str
    pod: Key


def pods_of(caches: Caches, namespace: str) -> list[KubeObject]:
    """Those that may serve the namespace's sessions: its own, and such of shared pools elsewhere."""
    return [*caches.pods.in_namespace(namespace), *caches.labelled(SESSION_NAMESPACE_LABEL, namespace)]


def occupied_by(pod: KubeObject) -> Key:
    """The tenant whose slot a pod holds, by (namespace, name); the name is empty if it holds none."""
    labels = labels_of(pod)
    return labels.get(SESSION_NAMESPACE_LABEL, key_of(pod)[0]), labels.get(TENANT_LABEL, "")


def free_slots(
    session: KubeObject,
    sessions: Collection[KubeObject],
    pods: Collection[KubeObject],
    starting: Collection[Slot],
    most: int,
) -> int:
    """How many of its tenant's sessions may start now, seen from `session`: those that are older come first.

    sessions: all of its namespace. pods: see pods_of. starting: what they do not show yet. most: the tenant's
    maxConcurrent. If there is room for all of them, fewer may be told than there are.
    """
    if (room := most - len(sessions) - len(pods) - len(starting)) > 0:
        return room
    tenant = tenant_of(session)
    key = (session["metadata"]["namespace"], tenant)
    running = {_serves(pod) for pod in pods if occupied_by(pod) == key}
    running |= {slot.session_uid for slot in starting if slot.tenant == key}
    ahead = sum(
        tenant_of(other) == tenant and age(other) < age(session) and _may_start(other) and uid_of(other) not in running
        for other in sessions
    )
    return most - len(running) - ahead


def next_waiting(sessions: Iterable[KubeObject], pods: Iterable[KubeObject], tenant: KubeObject) -> list[KubeObject]:
    """The sessions whose turn it is now: of those that wait at capacity, as many of the oldest as there are slots.

    sessions: of the tenant's namespace. pods: see pods_of.
    """
    name = tenant["metadata"]["name"]
    most = _most(tenant)
    free = most - sum(occupied_by(pod) == key_of(tenant) for pod in pods)
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
