"""What AgentPools and their runners are judged by, in the moment of each change."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from agentsession.api.base import is_true
from agentsession.api.conditions import FINISHED
from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession
from agentsession.kube.cache import Store
from agentsession.kube.objects import KubeObject, is_terminating, labels_of, uid_of
from agentsession.resources.names import POOL_LABEL, SESSION_LABEL
from agentsession.sessions.report import leaving

from .places import ALL, payer

JUST = 0.3
"""Seconds in which nothing can have come between a claim and its session that would be a reason to give it up."""


def desired(pool: AgentPool) -> int:
    """The unclaimed runners that it is to have, at most if it sizes itself."""
    scaling, replicas = pool.spec.scaling, pool.spec.replicas
    if scaling.mode == "Fixed":
        return replicas
    return scaling.max if scaling.mode == "Auto" else min(max(replicas, scaling.min), scaling.max)


def admits(pool: AgentPool, namespace: str) -> bool:
    """Whether sessions of that namespace may claim from it: it selects namespaces by name, if at all."""
    allowed = pool.spec.allowed_namespaces
    if allowed is None or namespace == pool.metadata.namespace:
        return namespace == pool.metadata.namespace
    return allowed.selector.match_labels.get("kubernetes.io/metadata.name", namespace) == namespace


def unclaimed(pods: Iterable[KubeObject], pool_uid: str) -> list[KubeObject]:
    """The pool's runners that are there, and no session's."""
    return [
        pod
        for pod in pods
        if labels_of(pod).get(POOL_LABEL) == pool_uid
        and SESSION_LABEL not in labels_of(pod)
        and not is_terminating(pod)
        and not _ended(pod)
    ]


def _ended(pod: KubeObject) -> bool:
    return pod["status"].get("phase") in ("Failed", "Succeeded")


def _wants(session: AgentSession | None) -> bool:
    """Whether it has a use for its runner: not while it is suspended, which goes on to its end once it has begun."""
    if session is None or is_true(session.status.conditions, FINISHED):
        return False
    return not (session.spec.suspend or leaving(session))


class Pools:
    """All of them. by_leader: whether the change just now is that of the operator that leads."""

    def __init__(
        self, pods: Callable[[], Iterable[KubeObject]], by_leader: Callable[[], bool], broken: Callable[[str], None]
    ) -> None:
        self._store = Store()
        self._pods = pods
        self._by_leader = by_leader
        self._broken = broken
        self._most: dict[str, int] = defaultdict(int)
        self._admitted: dict[str, set[str]] = defaultdict(set)
        """The namespaces that each has ever admitted."""
        self._claimed: dict[str, float] = {}
        self._late: set[str] = set()

    @property
    def all(self) -> list[AgentPool]:
        """Those that exist, by name."""
        return sorted(map(AgentPool.model_validate, self._store), key=lambda pool: pool.metadata.name)

    def changed(self, kind: str, obj: KubeObject) -> None:
        """Of a pool."""
        self._store.observe(kind, obj)
        pool = AgentPool.model_validate(obj)
        self._most[pool.metadata.uid] = max(self._most[pool.metadata.uid], desired(pool))
        self._admitted[pool.metadata.uid] |= {namespace for namespace in ALL if admits(pool, namespace)}

    def runner_changed(self, pod: KubeObject, session: AgentSession | None, now: float) -> None:
        """A session that has just claimed one keeps it, whatever its pool had in mind. now: seconds."""
        uid, name = uid_of(pod), pod["metadata"]["name"]
        if (home := payer(pod)[0]) not in self._admitted[labels_of(pod)[POOL_LABEL]]:
            self._broken(f"runner {name} serves a session of namespace {home}, which its pool has never admitted")
        if SESSION_LABEL in labels_of(pod):
            since = now - self._claimed.setdefault(uid, now)
            if is_terminating(pod) and _wants(session) and since < JUST and not _ended(pod):
                self._broken(f"runner {name} is deleted {since:.2f} s after a session has claimed it")
        elif is_terminating(pod):
            self._claimed[uid] = -JUST

    def runner_made(self, pod: KubeObject) -> None:
        """There are never more unclaimed ones than were ever asked for: an old one goes before a new one comes, and a
        leader knows all that it has made, and by its first list all that there was. What a deposed or dead leader has
        sent before may still arrive after that list, and is counted for nobody."""
        pool_uid = labels_of(pod).get(POOL_LABEL, "")
        if not self._by_leader():
            self._late.add(uid_of(pod))
        waiting = [each for each in unclaimed(self._pods(), pool_uid) if uid_of(each) not in self._late]
        if len(waiting) > self._most[pool_uid]:
            self._broken(f"a pool has {len(waiting)} unclaimed runners, {self._most[pool_uid]} are the most")
