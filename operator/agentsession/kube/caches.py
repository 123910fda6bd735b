"""The caches that controllers read; the watches fill them, and the answers to the operator's own writes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from agentsession.kube.cache import Store
from agentsession.kube.objects import KubeObject, condition_of, key_of, labels_of


def labelled(pod: KubeObject) -> Iterable[str]:
    """Pods are found by the values of their labels: the uids of the session and of the pool that they are for."""
    return labels_of(pod).values()


def reasons(obj: KubeObject) -> Iterable[str]:
    """Sessions are found by their namespace and the reason of their Ready condition."""
    yield _reason(key_of(obj)[0], condition_of(obj, "Ready")[1])


def _reason(namespace: str, reason: str) -> str:
    return f"{namespace}/{reason}"


@dataclass(frozen=True)
class Caches:
    """What the API server last told of each kind that is watched."""

    sessions: Store = field(default_factory=lambda: Store(index=reasons))
    pools: Store = field(default_factory=Store)
    tenants: Store = field(default_factory=Store)
    pods: Store = field(default_factory=lambda: Store(index=labelled))
    policies: Store = field(default_factory=Store)
    accounts: Store = field(default_factory=Store)
    claims: Store = field(default_factory=Store)
    namespaces: Store = field(default_factory=Store)

    def waiting(self, namespace: str, reason: str) -> list[KubeObject]:
        """The namespace's sessions that give this reason for not being ready."""
        return self.sessions.indexed(_reason(namespace, reason))
