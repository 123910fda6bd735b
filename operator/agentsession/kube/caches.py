"""The caches that controllers read; the watches fill them, and the answers to the operator's own writes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from agentsession.kube.cache import Store
from agentsession.kube.objects import KubeObject, labels_of


def labelled(pod: KubeObject) -> Iterable[str]:
    """Pods are found by the values of their labels: the uids of the session and of the pool that they are for."""
    return labels_of(pod).values()


@dataclass(frozen=True)
class Caches:
    """What the API server last told of each kind that is watched."""

    sessions: Store = field(default_factory=Store)
    pools: Store = field(default_factory=Store)
    tenants: Store = field(default_factory=Store)
    pods: Store = field(default_factory=lambda: Store(index=labelled))
    policies: Store = field(default_factory=Store)
    accounts: Store = field(default_factory=Store)
    claims: Store = field(default_factory=Store)
    namespaces: Store = field(default_factory=Store)
