"""What AgentTenants and the runners of their sessions are judged by, in the moment of each change."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.kube.objects import Key, KubeObject, uid_of

from .places import payer


class Tenants:
    """All of them. by_leader: whether the change just now is that of the operator that leads."""

    def __init__(
        self,
        tenants: Callable[[], Iterable[AgentTenant]],
        pods: Callable[[], Iterable[KubeObject]],
        by_leader: Callable[[], bool],
        broken: Callable[[str], None],
    ) -> None:
        self._tenants = tenants
        self._pods = pods
        self._by_leader = by_leader
        self._broken = broken
        self._most: dict[Key, int] = defaultdict(int)
        """The most runners at once that each was ever allowed."""
        self._late: set[str] = set()

    @property
    def all(self) -> dict[Key, AgentTenant]:
        """Those that exist."""
        return {tenant.key: tenant for tenant in self._tenants()}

    def changed(self, tenant: AgentTenant) -> None:
        """Or made."""
        self._most[tenant.key] = max(self._most[tenant.key], tenant.spec.sessions.max_concurrent)

    def admits(self, session: AgentSession, place: str) -> bool:
        """Whether the session's runner may be in that namespace, as far as its tenant is concerned."""
        home = session.metadata.namespace
        tenant = self.all.get((home, session.spec.tenant_ref.name))
        return tenant is not None and place in (home, *tenant.spec.shared_pools.namespaces)

    def runner_changed(self, pod: KubeObject, before: KubeObject | None) -> None:
        """A tenant never has more than it may. What a leader that is no more has sent before may still arrive when the
        next one has given the slot away, and is counted for nobody."""
        tenant = payer(pod)
        if not tenant[1] or (before is not None and payer(before) == tenant):
            return
        if not self._by_leader():
            self._late.add(uid_of(pod))
        running = sum(payer(other) == tenant and uid_of(other) not in self._late for other in self._pods())
        if running > self._most[tenant]:
            self._broken(f"tenant {'/'.join(tenant)} has {running} runners, {self._most[tenant]} are the most")
