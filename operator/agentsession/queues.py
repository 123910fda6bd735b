"""One queue per controller, and what a change of any watched object puts into them."""

from collections.abc import Iterable, Iterator
from functools import partial

from pydantic import ValidationError

from agentsession.api.conditions import FINISHED, READY
from agentsession.kube.cache import Changed
from agentsession.kube.caches import Caches, pool_of
from agentsession.kube.objects import (
    Key,
    KubeObject,
    annotations_of,
    condition_of,
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    owner_uid,
    uid_of,
)
from agentsession.kube.resource import (
    AGENTPOOLS,
    AGENTSESSIONS,
    AGENTTENANTS,
    NAMESPACES,
    NETWORKPOLICIES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    SERVICEACCOUNTS,
    Resource,
)
from agentsession.kube.workqueue import Priority, WorkQueue
from agentsession.resources.names import POOL_LABEL, SESSION_LABEL, SESSION_NAMESPACE_LABEL
from agentsession.runners.claimants import POOL_EXHAUSTED, next_claimants, ticket_of
from agentsession.runners.deletion import outlives
from agentsession.runners.podview import Views
from agentsession.sessions.slots import AT_CAPACITY, next_waiting, occupied_by, pods_of, tenant_of

SETTLES = 0.25
"""Seconds: a pool is looked at once for all that changes of its runners meanwhile."""


class Queues:
    """Filled once this replica leads. Before, nobody would empty them: they would keep the name of every session that
    ever was."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self.sessions = WorkQueue("sessions")
        self.pools = WorkQueue("pools")
        self.claimed = WorkQueue("claimed")
        """Pods of shared pools that serve a session of another namespace."""
        self.tenants = WorkQueue("tenants")
        self._looks: dict[Key, object] = {}
        self._generations: dict[Key, object] = {}
        self._views: Views | None = None

    def open(self, views: Views) -> None:
        """Begin with everything that there is; from now on, what changes comes by itself."""
        self._views = views
        for session in self._caches.sessions:
            self._session_changed(key_of(session), session)
        for pool in self._caches.pools:
            self.pools.add(key_of(pool))
        for tenant in self._caches.tenants:
            self.tenants.add(key_of(tenant))
        self._look_after(self._caches.pods)

    def changed(self) -> dict[Resource, Changed]:
        """By watched kind: what to do when an object of it changed."""
        handlers: dict[Resource, Changed] = {
            AGENTSESSIONS: self._session_changed,
            AGENTPOOLS: self._pool_changed,
            AGENTTENANTS: lambda key, _: self.tenants.add(key),
            PODS: self._pod_changed,
            NETWORKPOLICIES: lambda key, _: self._namespace_changed(key[0]),
            PERSISTENTVOLUMECLAIMS: lambda key, _: self._namespace_changed(key[0]),
            SERVICEACCOUNTS: lambda key, _: self._account_changed(key[0]),
            NAMESPACES: lambda key, _: self._namespace_changed(key[1]),
        }
        return {resource: partial(self._pass_on, handler) for resource, handler in handlers.items()}

    def tenant_changed(self, tenant: Key) -> None:
        """Sessions wait for their tenant: bring those back that have not finished."""
        for session in _unfinished(self._caches.sessions.in_namespace(tenant[0])):
            if tenant_of(session) == tenant[1]:
                self.sessions.add(key_of(session))
        self._pools_changed(tenant[0])

    def egress_gone(self) -> None:
        """A process, with what it had not told yet: sessions say so, also those that rest, while this leader knows."""
        for session in _unfinished(self._caches.sessions):
            self.sessions.add(key_of(session))

    def _pass_on(self, handler: Changed, key: Key, obj: KubeObject | None) -> None:
        if self._views is not None:
            handler(key, obj)

    def _session_changed(self, key: Key, session: KubeObject | None) -> None:
        new = session is not None and condition_of(session, READY) == ("", "")
        self.sessions.add(key, Priority.HIGH if new else Priority.NORMAL)
        pool = pool_of(session) if session is not None else None
        if new and pool is not None and self._sizes_itself(pool):
            self.pools.add(pool)  # it counts who comes
        if pool is not None and session is not None and ticket_of(session) is not None:
            self.pools.add_after(pool, SETTLES)  # another hand's change: who waited for it may do so no longer
        known = self._caches.sessions.get(key)
        if known is None or is_terminating(known):
            self._look_after(
                self._caches.pods.indexed(uid_of(session))
                if session is not None
                else self._caches.labelled(SESSION_NAMESPACE_LABEL, key[0])
            )
        if known is None:
            self._session_gone(key[0], pool)

    def _session_gone(self, namespace: str, pool: Key | None) -> None:
        """Who is younger may have waited for its turn. pool: the one that it named, if that is known."""
        for tenant in self._caches.tenants.in_namespace(namespace):
            self._slot_freed(key_of(tenant))
        for item in self._caches.pools.in_namespace(namespace):
            self.runner_changed(uid_of(item))
        shared = self._caches.pools.get(pool) if pool is not None and pool[0] != namespace else None
        if shared is not None:
            self.runner_changed(uid_of(shared))

    def _look_after(self, pods: Iterable[KubeObject]) -> None:
        for pod in pods:
            if outlives(pod):
                self.claimed.add(key_of(pod))

    def _sizes_itself(self, key: Key) -> bool:
        pool = self._caches.pools.get(key)
        return pool is not None and pool["spec"].get("scaling", {}).get("mode") == "Auto"

    def _pool_changed(self, key: Key, pool: KubeObject | None) -> None:
        """Sessions that name it and have no runner wait for it to appear, or for its template to change."""
        known = self._caches.pools.get(key)
        generation = known["metadata"].get("generation") if known is not None else None
        if pool is not None and known is not None and self._generations.get(key) == generation:
            return  # its own status
        if known is None:
            self._generations.pop(key, None)
        else:
            self._generations[key] = generation
        self.pools.add(key)
        for session in _unfinished(self._caches.naming(key)):
            self.sessions.add(key_of(session))

    def runner_changed(self, pool_uid: str) -> None:
        """Of a pool: it may have to be replaced, or be one that a session waits for."""
        pool = self._caches.pools.by_uid(pool_uid)
        if pool is None:
            return
        key = key_of(pool)
        self.pools.add_after(key, SETTLES)
        if not (waiting := self._caches.naming(key, POOL_EXHAUSTED)):
            return
        runners = self._caches.pods.indexed(pool_uid)
        ready = sum(SESSION_LABEL not in labels_of(pod) and condition_of(pod, READY)[0] == "True" for pod in runners)
        for session in next_claimants(waiting, self._caches.pods.indexed, ready):
            self.sessions.add(key_of(session), Priority.HIGH)

    def runner_taken(self, pod: KubeObject) -> None:
        """By a claim, or not, as its answer says: of a session that may be gone by then."""
        self.runner_changed(labels_of(pod).get(POOL_LABEL, ""))
        self._look_after([pod])

    def line_changed(self, session: KubeObject) -> None:
        """It has begun to wait for its pool's runner, or does so no longer: if it got none, the next may have it."""
        key = pool_of(session)
        pool = self._caches.pools.get(key) if key is not None else None
        if key is None or pool is None:
            return
        self.pools.add_after(key, SETTLES)
        if condition_of(session, READY)[1] != POOL_EXHAUSTED and not self._caches.pods.indexed(uid_of(session)):
            self.runner_changed(uid_of(pool))

    def _pod_changed(self, key: Key, pod: KubeObject | None) -> None:
        if self._views is None or self._looks_the_same(key, self._views):
            return
        if pod is not None and (pool_uid := labels_of(pod).get(POOL_LABEL)) is not None:
            self.runner_changed(pool_uid)
        owner = controller_of(pod) if pod is not None else None
        if owner is not None and owner.get("kind") == AGENTSESSIONS.kind:
            self._runner_changed_of((key[0], owner["name"]), key)
        if pod is None:  # a resync found it gone, and cannot say whose it was
            self._sessions_changed(key[0])
            self._pools_changed(key[0])
            return
        if outlives(pod):
            self._claimed_changed(pod)
        if self._caches.pods.get(key) is None:
            self._slot_freed(occupied_by(pod))

    def _runner_changed_of(self, session: Key, pod: Key) -> None:
        """Of a session that has finished, all that matters of a pod that is being deleted is when it is gone."""
        known, there = self._caches.sessions.get(session), self._caches.pods.get(pod)
        if known is None or there is None or not (_has_finished(known) and is_terminating(there)):
            self.sessions.add(session)

    def _claimed_changed(self, pod: KubeObject) -> None:
        self.claimed.add(key_of(pod))
        session = self._caches.sessions.by_uid(labels_of(pod).get(SESSION_LABEL, ""))
        if session is not None:
            self.sessions.add(key_of(session))

    def _looks_the_same(self, key: Key, views: Views) -> bool:
        """Whether nothing has changed that a decision is made from: half of a pod's changes are of no interest."""
        pod = self._caches.pods.get(key)
        if pod is None:
            self._looks.pop(key, None)
            return False
        try:
            looks = (views.of(pod), annotations_of(pod), labels_of(pod), owner_uid(pod))
        except ValidationError:  # a pod's status may hold nonsense: its session's affair, not the watch's
            return False
        if self._looks.get(key) == looks:
            return True
        self._looks[key] = looks
        return False

    def _slot_freed(self, tenant: Key) -> None:
        known = self._caches.tenants.get(tenant)
        if known is not None and (waiting := self._caches.waiting(tenant[0], AT_CAPACITY)):
            for session in next_waiting(waiting, pods_of(self._caches, tenant[0]), known):
                self.sessions.add(key_of(session))

    def _tenants_changed(self, namespace: str) -> None:
        for tenant in self._caches.tenants.in_namespace(namespace):
            self.tenants.add(key_of(tenant))

    def _pools_changed(self, namespace: str) -> None:
        for pool in self._caches.pools.in_namespace(namespace):
            self.pools.add(key_of(pool))

    def _account_changed(self, namespace: str) -> None:
        self._tenants_changed(namespace)
        self._pools_changed(namespace)

    def _namespace_changed(self, namespace: str) -> None:
        self._tenants_changed(namespace)
        self._pools_changed(namespace)
        self._sessions_changed(namespace)

    def _sessions_changed(self, namespace: str) -> None:
        """Those of the namespace, and those of others whose runners are there, or may come from a pool there."""
        for session in _unfinished(self._caches.sessions.in_namespace(namespace)):
            self.sessions.add(key_of(session))
        for pool in self._caches.pools.in_namespace(namespace):
            for session in _unfinished(self._caches.naming(key_of(pool))):
                self.sessions.add(key_of(session))
        for pod in self._caches.pods.in_namespace(namespace):
            if SESSION_NAMESPACE_LABEL in labels_of(pod):
                self._claimed_changed(pod)


def _unfinished(sessions: Iterable[KubeObject]) -> Iterator[KubeObject]:
    return (session for session in sessions if not _has_finished(session))


def _has_finished(session: KubeObject) -> bool:
    return condition_of(session, FINISHED)[0] == "True"
