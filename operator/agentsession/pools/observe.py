"""Gathers what a pool's decision is made from, all of it from caches."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool
from agentsession.api.tenant import AgentTenant
from agentsession.kube.caches import Caches
from agentsession.kube.objects import Key, KubeObject, is_terminating, key_of, labels_of, uid_of
from agentsession.resources.names import NETWORK_POLICY, POOL_LABEL, RUNNER_LABEL, SESSION_LABEL
from agentsession.resources.network import holds, widened_by, widened_message
from agentsession.resources.pod import revision, warm_spec
from agentsession.resources.surroundings import Surroundings
from agentsession.resources.tenancy import runner_uid
from agentsession.runners.claimants import POOL_EXHAUSTED, ticket_of, waiting
from agentsession.runners.podview import PodView, Views
from agentsession.runners.requirements import admits, no_tenant, wrong_model
from agentsession.runners.tenants import Tenants
from agentsession.runners.trouble import WIDENED, Trouble

from .demand import Demand
from .observed import RECENT, Observed, Refused


class Observer:
    """Reads caches. refused: what the API server last said to a pod of a pool. claiming: pods that sessions are taking
    just now, which no cache shows yet."""

    def __init__(
        self,
        caches: Caches,
        install: Installation,
        surroundings: Surroundings,
        views: Views,
        refused: Mapping[Key, Refused],
        claiming: Callable[[], Collection[Key]],
    ) -> None:
        self._caches = caches
        self._install = install
        self._surroundings = surroundings
        self._views = views
        self._tenants = Tenants(caches.tenants)
        self._refused = refused
        self._claiming = claiming
        self._demands: dict[Key, Demand] = {}

    def tenant(self, pool: AgentPool) -> AgentTenant | None:
        """The pool's tenant, if it has one that is there and can be read."""
        return self._tenants.find((pool.metadata.namespace, pool.spec.tenant))[0] if pool.spec.tenant else None

    def user(self, namespace: str) -> int | None:
        """User id of the namespace's runners; None while it is not known, or is going."""
        known = self._caches.namespaces.get(("", namespace))
        return None if known is None or is_terminating(known) else runner_uid(uid_of(known))

    def observe(self, pool: AgentPool, refused: Trouble | None, now: datetime, *, refilling: bool) -> Observed:
        """The snapshot for one pool. refused: why its namespace could not be made ready."""
        namespace, uid = pool.metadata.namespace, pool.metadata.uid
        tenant, user = self.tenant(pool), self.user(namespace)
        unresolved = refused or self._no_tenant(pool) or self._unresolved(pool, tenant, user)
        wanted = ""
        if unresolved is None and user is not None:
            wanted = revision(warm_spec(pool.spec.template, tenant, self._install, self._surroundings, user))
        pods = self._caches.pods.indexed(uid)
        free = [pod for pod in pods if SESSION_LABEL not in labels_of(pod)]
        runners = [self._views.of(pod) for pod in free]
        grants = (self._views.of(pod).grant for pod in pods if SESSION_LABEL in labels_of(pod))
        claims = [item.claimed for item in grants if item is not None and item.claimed is not None]
        claiming = self._claiming()
        taken = sum(key_of(pod) in claiming for pod in free)
        waits = list(waiting(self._caches.naming(pool.key, POOL_EXHAUSTED), self._caches.pods.indexed))
        return Observed(
            unresolved=unresolved,
            revision=wanted,
            runners=runners,
            claimed=len(pods) - len(free),
            waiting=len(waits),
            now_serving=min((ticket for item in waits if (ticket := ticket_of(item)) is not None), default=None),
            demand=self._demand(pool, runners, now),
            last_claim=now if taken else max(claims, default=None),
            recent_claims=taken + sum(now - RECENT < claimed for claimed in claims),
            refilling=refilling,
            refused=self._refused.get(pool.key),
        )

    def _demand(self, pool: AgentPool, runners: list[PodView], now: datetime) -> int:
        if pool.spec.scaling.mode != "Auto":
            self.forget(pool.key)
            return 0
        sessions = self._admitted(pool)
        if (demand := self._demands.get(pool.key)) is None:
            demand = self._demands[pool.key] = Demand(pool.status.desired_replicas, now)
        return demand.size(sessions, runners, pool.spec.scaling.warm_percent / 100, now)

    def _admitted(self, pool: AgentPool) -> list[KubeObject]:
        """The sessions that name the pool, but for those of namespaces that are none of its business."""
        naming = self._caches.naming(pool.key)
        known = {namespace: self._caches.namespaces.get(("", namespace)) for namespace, _ in map(key_of, naming)}
        admitted = {
            namespace
            for namespace, found in known.items()
            if admits(pool, namespace, labels_of(found) if found is not None else {}, self._install)
        }
        return [session for session in naming if key_of(session)[0] in admitted]

    def forget(self, key: Key) -> None:
        """The pool is gone, or does not size itself any more."""
        self._demands.pop(key, None)

    def _no_tenant(self, pool: AgentPool) -> Trouble | None:
        if pool.spec.tenant is None:
            return None
        namespace = pool.metadata.namespace
        tenant, problem = self._tenants.find((namespace, pool.spec.tenant))
        return no_tenant(tenant, problem, pool.spec.tenant, namespace)

    def _unresolved(self, pool: AgentPool, tenant: AgentTenant | None, user: int | None) -> Trouble | None:
        namespace = pool.metadata.namespace
        if tenant is not None and (wrong := wrong_model(pool.spec.template.agent, tenant, "spec.template")) is not None:
            return Trouble("ModelNotAllowed", wrong)
        if user is None or not self._policy_holds((namespace, NETWORK_POLICY)):
            return Trouble("NamespaceNotReady", "the namespace's NetworkPolicy is not in place yet")
        labels = {RUNNER_LABEL: "true", POOL_LABEL: pool.metadata.uid}
        policies = self._caches.policies.in_namespace(namespace)
        if (wide := widened_by(policies, labels, self._install.runner.network_policies)) is not None:
            return Trouble(WIDENED, widened_message(wide))
        return None

    def _policy_holds(self, key: Key) -> bool:
        return holds(self._caches.policies.get(key), key[0], self._install)
