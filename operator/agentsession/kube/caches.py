"""The caches that controllers read; the watches fill them, and the answers to the operator's own writes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields

from agentsession.kube.cache import Store
from agentsession.kube.objects import Key, KubeObject, condition_of, key_of, labels_of


def labelled(pod: KubeObject) -> Iterable[str]:
    """Pods are found by the values of their labels, such as the uids of the session and of the pool that they are for;
    and by label and value, where the value alone is not unique."""
    for label, value in labels_of(pod).items():
        yield value
        yield _labelled(label, value)


def reasons(session: KubeObject) -> Iterable[str]:
    """Sessions are found by the reason of their Ready condition, in their namespace; and by the pool that they name."""
    yield _reason(key_of(session)[0], condition_of(session, "Ready")[1])
    if (pool := pool_of(session)) is not None:
        yield _naming(pool)
        yield _naming(pool, condition_of(session, "Ready")[1])


def pool_of(session: KubeObject) -> Key | None:
    """The AgentPool that a session names; None if it names none that can be read."""
    try:
        ref = session["spec"]["poolRef"]
        namespace, name = ref.get("namespace", key_of(session)[0]), ref["name"]
    except (KeyError, TypeError, AttributeError):
        return None
    return (namespace, name) if isinstance(namespace, str) and isinstance(name, str) else None


def _labelled(label: str, value: str) -> str:
    return f"{label}={value}"


def _reason(namespace: str, reason: str) -> str:
    return f"{namespace}/{reason}"


def _naming(pool: Key, reason: str = "") -> str:
    return f"pool {pool[0]}/{pool[1]} {reason}"


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

    def keep_only(self, owns: Callable[[str], bool]) -> None:
        """Only what is in the namespaces that it owns, and those namespaces."""
        for store in (self.sessions, self.pools, self.tenants, self.pods, self.policies, self.accounts, self.claims):
            store.keep_only(lambda key: owns(key[0]))
        self.namespaces.keep_only(lambda key: owns(key[1]))

    def count(self) -> int:
        """Objects of all kinds."""
        return sum(len(getattr(self, item.name)) for item in fields(self))

    def waiting(self, namespace: str, reason: str) -> list[KubeObject]:
        """The namespace's sessions that give this reason for not being ready."""
        return self.sessions.indexed(_reason(namespace, reason))

    def naming(self, pool: Key, reason: str = "") -> list[KubeObject]:
        """The sessions that name that pool; with a reason, those that give it for not being ready."""
        return self.sessions.indexed(_naming(pool, reason))

    def labelled(self, label: str, value: str) -> list[KubeObject]:
        """The pods with that label."""
        return self.pods.indexed(_labelled(label, value))
