"""One queue per controller, and what a change of any watched object puts into them."""

from functools import partial

from pydantic import ValidationError

from agentsession.api.conditions import FINISHED, READY
from agentsession.keys.seals import Seals
from agentsession.kube.cache import Changed
from agentsession.kube.caches import Caches
from agentsession.kube.objects import (
    Key,
    KubeObject,
    annotations_of,
    condition_of,
    controller_of,
    key_of,
    labels_of,
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
from agentsession.resources.names import POOL_LABEL, SESSION_LABEL, TENANT_LABEL
from agentsession.runners.claimants import POOL_EXHAUSTED, next_claimants, pool_of
from agentsession.runners.podview import view
from agentsession.sessions.slots import AT_CAPACITY, next_waiting, tenant_of

SETTLES = 0.1
"""Seconds: a pool is looked at once for all that changes of its runners meanwhile."""


class Queues:
    """Filled once this replica leads. Before, nobody would empty them: they would keep the name of every session that
    ever was."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self.sessions = WorkQueue("sessions")
        self.pools = WorkQueue("pools")
        self.tenants = WorkQueue("tenants")
        self._views: dict[Key, object] = {}
        self._generations: dict[Key, object] = {}
        self._open = False

    def open(self) -> None:
        """Begin with everything that there is; from now on, what changes comes by itself."""
        self._open = True
        for session in self._caches.sessions:
            self._session_changed(key_of(session), session)
        for pool in self._caches.pools:
            self.pools.add(key_of(pool))
        for tenant in self._caches.tenants:
            self.tenants.add(key_of(tenant))

    def changed(self) -> dict[Resource, Changed]:
        """By watched kind: what to do when an object of it changed."""
        handlers: dict[Resource, Changed] = {
            AGENTSESSIONS: self._session_changed,
            AGENTPOOLS: self._pool_changed,
            AGENTTENANTS: lambda key, _: self.tenants.add(key),
            PODS: self._pod_changed,
            NETWORKPOLICIES: lambda key, _: self._namespace_changed(key[0]),
            PERSISTENTVOLUMECLAIMS: lambda key, _: self._namespace_changed(key[0]),
            SERVICEACCOUNTS: lambda key, _: self._tenants_changed(key[0]),
            NAMESPACES: lambda key, _: self._namespace_changed(key[1]),
        }
        return {resource: partial(self._pass_on, handler) for resource, handler in handlers.items()}

    def tenant_changed(self, tenant: Key) -> None:
        """Sessions wait for their tenant: bring those back that have not finished."""
        for session in self._unfinished(tenant[0]):
            if tenant_of(session) == tenant[1]:
                self.sessions.add(key_of(session))
        self._pools_changed(tenant[0])

    def _pass_on(self, handler: Changed, key: Key, obj: KubeObject | None) -> None:
        if self._open:
            handler(key, obj)

    def _session_changed(self, key: Key, session: KubeObject | None) -> None:
        new = session is not None and condition_of(session, READY) == ("", "")
        self.sessions.add(key, Priority.HIGH if new else Priority.NORMAL)
        if new and session is not None and self._sizes_itself(pool := (key[0], pool_of(session))):
            self.pools.add(pool)  # it counts who comes
        if self._caches.sessions.get(key) is None:
            self._session_gone(key[0])

    def _session_gone(self, namespace: str) -> None:
        """Who is younger may have waited for its turn."""
        for tenant in self._caches.tenants.in_namespace(namespace):
            self._slot_freed(key_of(tenant))
        for pool in self._caches.pools.in_namespace(namespace):
            self.runner_changed(uid_of(pool))

    def _sizes_itself(self, key: Key) -> bool:
        pool = self._caches.pools.get(key)
        return pool is not None and pool["spec"].get("scaling", {}).get("mode") == "Auto"

    def _pool_changed(self, key: Key, pool: KubeObject | None) -> None:
        """Sessions that name it and have no runner wait for it to appear, or for its template to change."""
        known = self._caches.pools.get(key)
        generation = known["metadata"].get("generation") if known is not None else None
        if pool is not None and self._generations.get(key) == generation:
            return  # its own status
        self._generations[key] = generation
        self.pools.add(key)
        for session in self._unfinished(key[0]):
            if pool_of(session) == key[1]:
                self.sessions.add(key_of(session))

    def runner_changed(self, pool_uid: str) -> None:
        """Of a pool: it may have to be replaced, or be one that a session waits for."""
        pool = self._caches.pools.by_uid(pool_uid)
        if pool is None:
            return
        key = key_of(pool)
        self.pools.add_after(key, SETTLES)
        if not (waiting := self._caches.waiting(key[0], POOL_EXHAUSTED)):
            return
        runners = self._caches.pods.indexed(pool_uid)
        ready = sum(SESSION_LABEL not in labels_of(pod) and condition_of(pod, READY)[0] == "True" for pod in runners)
        for session in next_claimants(waiting, key[1], self._caches.pods.indexed, ready):
            self.sessions.add(key_of(session), Priority.HIGH)

    def _pod_changed(self, key: Key, pod: KubeObject | None) -> None:
        if self._looks_the_same(key):
            return
        if pod is not None and (pool_uid := labels_of(pod).get(POOL_LABEL)) is not None:
            self.runner_changed(pool_uid)
        owner = controller_of(pod) if pod is not None else None
        if owner is not None and owner.get("kind") == AGENTSESSIONS.kind:
            self.sessions.add((key[0], owner["name"]))
        if pod is None:  # a resync found it gone, and cannot say whose it was
            for session in self._unfinished(key[0]):
                self.sessions.add(key_of(session))
            self._pools_changed(key[0])
        elif self._caches.pods.get(key) is None:
            self._slot_freed((key[0], labels_of(pod).get(TENANT_LABEL, "")))

    def _looks_the_same(self, key: Key) -> bool:
        """Whether nothing has changed that a decision is made from: half of a pod's changes are of no interest."""
        pod = self._caches.pods.get(key)
        if pod is None:
            self._views.pop(key, None)
            return False
        try:
            looks = (view(pod, UNVERIFIED), annotations_of(pod), labels_of(pod))
        except ValidationError:  # a pod's status may hold nonsense: its session's affair, not the watch's
            return False
        if self._views.get(key) == looks:
            return True
        self._views[key] = looks
        return False

    def _slot_freed(self, tenant: Key) -> None:
        known = self._caches.tenants.get(tenant)
        if known is not None and (waiting := self._caches.waiting(tenant[0], AT_CAPACITY)):
            for session in next_waiting(waiting, self._caches.pods.in_namespace(tenant[0]), known):
                self.sessions.add(key_of(session))

    def _tenants_changed(self, namespace: str) -> None:
        for tenant in self._caches.tenants.in_namespace(namespace):
            self.tenants.add(key_of(tenant))

    def _pools_changed(self, namespace: str) -> None:
        for pool in self._caches.pools.in_namespace(namespace):
            self.pools.add(key_of(pool))

    def _namespace_changed(self, namespace: str) -> None:
        self._tenants_changed(namespace)
        self._pools_changed(namespace)
        for session in self._unfinished(namespace):
            self.sessions.add(key_of(session))

    def _unfinished(self, namespace: str) -> list[KubeObject]:
        return [session for session in self._caches.sessions.in_namespace(namespace) if not _finished(session)]


UNVERIFIED = Seals(lambda: {"keys": []})
"""Only the leader has the keys."""


def _finished(session: KubeObject) -> bool:
    return condition_of(session, FINISHED)[0] == "True"
