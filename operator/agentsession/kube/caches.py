"""The caches that controllers read; the watches fill them, and the answers to the operator's own writes."""

from dataclasses import dataclass, field

from agentsession.kube.cache import Store


@dataclass(frozen=True)
class Caches:
    """What the API server last told of each kind that is watched."""

    sessions: Store = field(default_factory=Store)
    tenants: Store = field(default_factory=Store)
    pods: Store = field(default_factory=Store)
    policies: Store = field(default_factory=Store)
    accounts: Store = field(default_factory=Store)
    claims: Store = field(default_factory=Store)
    namespaces: Store = field(default_factory=Store)
