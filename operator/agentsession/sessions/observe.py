"""Gathers what a decision is made from. Everything comes from caches, but for the text behind promptFrom."""

from collections.abc import Collection, Mapping
from datetime import datetime

from pydantic import ValidationError

from agentsession.api.base import is_true
from agentsession.api.conditions import FINISHED
from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool, PoolTemplate
from agentsession.api.session import FIRST_TURN, AgentSession, PromptSource
from agentsession.api.tenant import AgentTenant
from agentsession.api.values import WRITTEN
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import Key, KubeObject, is_terminating, key_of, labels_of, uid_of
from agentsession.kube.resource import CONFIGMAPS
from agentsession.kube.versions import Versions
from agentsession.resources.names import NETWORK_POLICY, POOL_LABEL, SESSION_LABEL, claim_name, runner_pod_name
from agentsession.resources.network import holds, widened_by
from agentsession.resources.pod import revision, runner_labels, warm_spec
from agentsession.resources.surroundings import Surroundings
from agentsession.resources.tenancy import runner_uid
from agentsession.runners.claimants import POOL_EXHAUSTED, waiting_before
from agentsession.runners.listeners import Listeners
from agentsession.runners.podview import PodView, Views, served_first
from agentsession.runners.requirements import admits
from agentsession.runners.tenants import Tenants
from agentsession.runners.tickets import Tickets
from agentsession.runners.trouble import Trouble
from agentsession.usage.meters import Meters
from agentsession_runner.protocol import State

from .holdup import ABSENT, Claim
from .observed import Observed
from .offer import POOL_NOT_FOUND, Offer, offer, pool_key, template_of
from .slots import Slot, free_slots, pods_of
from .turns import turn_uuid
from .usage import doubtful, uncounted

MAX_PROMPT = 131072


class Observer:
    """Reads caches, listeners and meters."""

    def __init__(
        self,
        api: ApiClient,
        caches: Caches,
        listeners: Listeners,
        meters: Meters,
        install: Installation,
        surroundings: Surroundings,
        views: Views,
        starting: Collection[Slot],
        claimed: Collection[str],
        tickets: Tickets,
    ) -> None:
        self._api = api
        self._caches = caches
        self._listeners = listeners
        self._meters = meters
        self._install = install
        self._views = views
        self._tenants = Tenants(caches.tenants)
        self._pools = Versions(AgentPool.model_validate)
        self._tickets = tickets
        self._starting = starting
        self._claimed = claimed
        self._surroundings = surroundings

    async def observe(self, raw: KubeObject, session: AgentSession) -> Observed:
        """The snapshot for one session; `raw` is the same as the cache has it."""
        namespace, status = session.metadata.namespace, session.status
        pods = self._pods(session)
        raw_pod, pod = pods[0] if pods else (None, None)
        runner = self._listeners.state(session.key, pod.uid) if pod is not None else None
        prompt, problem = await self._prompt(session, runner)
        tenant, unreadable = self._tenants.find((namespace, session.spec.tenant_ref.name))
        pool = self._pool(session)
        template = template_of(session, pool)
        finished = is_true(session.status.conditions, FINISHED)
        offered = self._offer(session, tenant, pool, template) if pod is None and _may_claim(session) else None
        place, labels = namespace, runner_labels(session)
        if raw_pod is not None:
            place, labels = key_of(raw_pod)[0], dict(labels_of(raw_pod))
        elif offered is not None and offered.runner is not None and pool is not None:
            place, labels = pool.metadata.namespace, labels | {POOL_LABEL: pool.metadata.uid}
        return Observed(
            tenant=tenant,
            tenant_problem=unreadable,
            namespace_ready=self._namespace_ready(place),
            namespace_terminating=self._terminating(namespace),
            claim=self._claim(tenant),
            widened_by=self._widened_by(namespace, place, labels),
            prompt=prompt,
            prompt_problem=problem,
            template=template,
            offer=offered,
            ticket=self._ticket(session, pool, offered),
            claimed_before=pod is None
            and (session.status.start_type == "Warm" or session.metadata.uid in self._claimed),
            pod=pod,
            strays=[stray for _, stray in pods[1:]],
            runner=runner,
            refusals=self._listeners.refusals(session.key, pod.uid) if pod is not None else 0,
            usage=self._meters.session(session.key, session.metadata.uid),
            lost_meters=self._meters.lost(
                doubtful(status.usage), uncounted(status.usage, status.turns, _claimed(session, pod))
            ),
            usage_until=self._meters.until,
            free_slots=self._free_slots(raw, tenant) if pod is None and tenant is not None and not finished else 0,
        )

    def _pods(self, session: AgentSession) -> list[tuple[KubeObject, PodView]]:
        """Those that are for the session, the one that is served first; and one that only has its runner's name."""
        uid, found = session.metadata.uid, self._caches.pods.indexed(session.metadata.uid)
        if not found:
            named = self._caches.pods.get((session.metadata.namespace, runner_pod_name(session.metadata.name, uid)))
            found = [named] if named is not None else []
        pods = [(raw, self._views.of(raw)) for raw in found]
        return sorted(pods, key=lambda pod: served_first(pod[1], uid), reverse=True)

    def _pool(self, session: AgentSession) -> AgentPool | None:
        """The one that it names, if it may use it."""
        key, namespace = pool_key(session), session.metadata.namespace
        found = self._caches.pools.get(key) if key is not None else None
        try:
            pool = self._pools.of(found) if found is not None else None
        except ValidationError:
            return None
        known = self._caches.namespaces.get(("", namespace))
        labels = labels_of(known) if known is not None else {}
        return pool if pool is not None and admits(pool, namespace, labels, self._install) else None

    def _offer(
        self, session: AgentSession, tenant: AgentTenant | None, pool: AgentPool | None, template: PoolTemplate | None
    ) -> Offer | None:
        """Of its pool."""
        if session.spec.pool_ref is None:
            return None
        if pool is None:
            return Offer(none=Trouble(POOL_NOT_FOUND, ""))
        known = self._caches.namespaces.get(("", pool.metadata.namespace))
        if template is None or tenant is None or known is None:
            return None
        uid, owner = runner_uid(uid_of(known)), tenant if pool.spec.tenant is not None else None
        current = revision(warm_spec(pool.spec.template, owner, self._install, self._surroundings, uid))
        wanted = (
            current
            if template == pool.spec.template
            else revision(warm_spec(template, owner, self._install, self._surroundings, uid))
        )
        reserved = {slot.pod for slot in self._starting}
        runners = (
            self._views.of(pod)
            for pod in self._caches.pods.indexed(pool.metadata.uid)
            if key_of(pod) not in reserved and SESSION_LABEL not in labels_of(pod)
        )
        return offer(session, tenant, pool, wanted, current, runners, self._ahead(session, pool))

    def _ahead(self, session: AgentSession, pool: AgentPool) -> int:
        """Sessions that wait for a runner of that pool before it, and are not being given one."""
        starting = {slot.session_uid for slot in self._starting}
        waiting = self._caches.naming(pool.key, POOL_EXHAUSTED)
        return waiting_before(session, waiting, lambda uid: uid in starting or self._caches.pods.indexed(uid))

    def _ticket(self, session: AgentSession, pool: AgentPool | None, offered: Offer | None) -> int | None:
        """That it holds, or a new one if it begins to wait."""
        if session.status.ticket is not None or pool is None or offered is None or offered.none is None:
            self._tickets.forget(session.key)
            return session.status.ticket
        if offered.none.reason != POOL_EXHAUSTED:
            return None
        return self._tickets.give(pool, session.key, session.metadata.uid)

    def forget(self, key: Key) -> None:
        """The session is gone."""
        self._tickets.forget(key)

    def _namespace_ready(self, namespace: str) -> bool:
        if self._caches.namespaces.get(("", namespace)) is None or self._terminating(namespace):
            return False
        return holds(self._caches.policies.get((namespace, NETWORK_POLICY)), namespace, self._install)

    def _claim(self, tenant: AgentTenant | None) -> Claim | None:
        if tenant is None or tenant.spec.workspace is None:
            return None
        name = claim_name(tenant.metadata.name)
        known = self._caches.claims.get((tenant.metadata.namespace, name))
        if known is None:
            return Claim(name, ABSENT)
        phase = known.get("status", {}).get("phase", "Pending")
        return Claim(name, phase, known["spec"].get("storageClassName", ""))

    def _terminating(self, namespace: str) -> bool:
        known = self._caches.namespaces.get(("", namespace))
        return known is not None and is_terminating(known)

    def _widened_by(self, namespace: str, place: str, labels: Mapping[str, str]) -> str | None:
        """place: where the runner is, or would be."""
        policies = self._caches.policies.in_namespace(place)
        found = widened_by(policies, labels, self._install.runner.network_policies)
        return found if found is None or place == namespace else f"{found} of namespace {place}"

    async def _prompt(self, session: AgentSession, runner: State | None) -> tuple[str | None, str | None]:
        """The first turn's text, or why it is not there. Not read again once the runner has it, or has answered."""
        first = turn_uuid(session.metadata.uid, FIRST_TURN)
        if any(t.id == FIRST_TURN and (t.state != "Running" or t.uuid != first) for t in session.status.turns):
            return None, None
        if session.spec.prompt_from is None:
            return session.spec.prompt, None
        if runner is not None and any(turn.uuid == first for turn in runner.turns):
            return None, None
        return await self._read(session, session.spec.prompt_from)

    async def _read(self, session: AgentSession, source: PromptSource) -> tuple[str | None, str | None]:
        ref, namespace = source.config_map_key_ref, session.metadata.namespace
        field = "spec.promptFrom.configMapKeyRef"
        try:
            found = await self._api.get(CONFIGMAPS, (namespace, ref.name))
        except NotFoundError:
            return None, f"{field}: there is no ConfigMap {ref.name} in namespace {namespace}: create it"
        text = (found.get("data") or {}).get(ref.key)
        if not isinstance(text, str) or not WRITTEN.matches(text):
            return None, f"{field}: ConfigMap {ref.name} has no text under the key {ref.key}: add it"
        if len(text) > MAX_PROMPT:
            return None, f"{field}: {len(text)} characters under the key {ref.key}, {MAX_PROMPT} are the most"
        return text, None

    def _free_slots(self, raw: KubeObject, tenant: AgentTenant) -> int:
        namespace = raw["metadata"]["namespace"]
        sessions, pods = self._caches.sessions.in_namespace(namespace), pods_of(self._caches, namespace)
        return free_slots(raw, sessions, pods, self._starting, tenant.spec.sessions.max_concurrent)


def _claimed(session: AgentSession, pod: PodView | None) -> datetime | None:
    """When it got its runner from a pool, if it did. An operator that died after the claim has not told of it."""
    granted = pod.grant.claimed if pod is not None and pod.grant is not None else None
    return session.status.timings.claimed or granted


def _may_claim(session: AgentSession) -> bool:
    """Not once it started cold, for its pod may be on its way; nor to go on where another runner stopped."""
    return session.status.start_type in (None, "Warm") and not session.status.turns
