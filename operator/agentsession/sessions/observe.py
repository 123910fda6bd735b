"""Gathers what a decision is made from. Everything comes from caches, but for the text behind promptFrom."""

from collections.abc import Callable, Mapping

from agentsession.api.base import KubeModel
from agentsession.api.conditions import ACCEPTED, FINISHED, RESOLVED_REFS
from agentsession.api.installation import Installation
from agentsession.api.session import FIRST_TURN, AgentSession, PromptSource
from agentsession.api.tenant import AgentTenant
from agentsession.keys.keyring import Keyring
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import CONFIGMAPS
from agentsession.resources.names import NETWORK_POLICY, runner_pod_name
from agentsession.resources.network import network_policy
from agentsession.runners.listeners import Listeners
from agentsession.usage.meters import Meters

from .observed import Observed
from .podview import PodView, view

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
        keyring: Callable[[], Keyring],
    ) -> None:
        self._api = api
        self._caches = caches
        self._listeners = listeners
        self._meters = meters
        self._install = install
        self._keyring = keyring

    async def observe(self, session: AgentSession) -> Observed:
        """The snapshot for one session."""
        namespace, name = session.key
        pod = self._pod(namespace, runner_pod_name(name, session.metadata.uid))
        tenant = self._caches.tenants.get((namespace, session.spec.tenant_ref.name))
        parsed_tenant = AgentTenant.model_validate(tenant) if tenant is not None else None
        prompt, problem = await self._prompt(session)
        served = {meter.incarnation for meter in (session.status.usage.meters if session.status.usage else [])}
        alive = self._meters.alive
        return Observed(
            tenant=parsed_tenant,
            namespace_ready=self._namespace_ready(namespace),
            prompt=prompt,
            prompt_problem=problem,
            pod=pod,
            runner=self._listeners.state(session.key, pod.uid) if pod is not None else None,
            usage=self._meters.session(session.metadata.uid),
            lost_meters=frozenset(served - alive) if alive is not None else frozenset(),
            free_slots=self._free_slots(session, parsed_tenant) if pod is None else 0,
        )

    def _pod(self, namespace: str, name: str) -> PodView | None:
        pod = self._caches.pods.get((namespace, name))
        return view(pod, self._keyring().jwks()) if pod is not None else None

    def _namespace_ready(self, namespace: str) -> bool:
        policy = self._caches.policies.get((namespace, NETWORK_POLICY))
        known = self._caches.namespaces.get(("", namespace)) is not None
        return known and policy is not None and policy["spec"] == network_policy(namespace, self._install)["spec"]

    async def _prompt(self, session: AgentSession) -> tuple[str | None, str | None]:
        """The first turn's text, or why it is not there. Not read again once that turn has ended."""
        if any(turn.id == FIRST_TURN and turn.state != "Running" for turn in session.status.turns):
            return None, None
        if session.spec.prompt_from is None:
            return session.spec.prompt, None
        return await self._read(session, session.spec.prompt_from)

    async def _read(self, session: AgentSession, source: PromptSource) -> tuple[str | None, str | None]:
        ref, namespace = source.config_map_key_ref, session.metadata.namespace
        field = "spec.promptFrom.configMapKeyRef"
        try:
            found = await self._api.get(CONFIGMAPS, (namespace, ref.name))
        except NotFoundError:
            return None, f"{field}: there is no ConfigMap {ref.name} in namespace {namespace}: create it"
        text = (found.get("data") or {}).get(ref.key)
        if not isinstance(text, str) or not text:
            return None, f"{field}: ConfigMap {ref.name} has no text under the key {ref.key}: add it"
        if len(text) > MAX_PROMPT:
            return None, f"{field}: {len(text)} characters under the key {ref.key}, {MAX_PROMPT} are the most"
        return text, None

    def _free_slots(self, session: AgentSession, tenant: AgentTenant | None) -> int:
        """How many sessions of the tenant may start, less the older ones that wait: no lock, no counter to lose."""
        if tenant is None:
            return 0
        namespace = session.metadata.namespace
        running, ahead = 0, 0
        for other in self._caches.sessions.in_namespace(namespace):
            metadata = other["metadata"]
            if metadata["uid"] == session.metadata.uid or not _counts(other, tenant.metadata.name):
                continue
            if self._caches.pods.get((namespace, runner_pod_name(metadata["name"], metadata["uid"]))) is not None:
                running += 1
            elif _age(other) < (_created(session), session.metadata.name):
                ahead += 1
        return tenant.spec.sessions.max_concurrent - running - ahead


def _counts(session: KubeObject, tenant: str) -> bool:
    """Whether a session is one of the tenant's that has, or may get, a runner."""
    if session["spec"].get("tenantRef", {}).get("name", "default") != tenant:
        return False
    conditions: list[Mapping[str, str]] = session.get("status", {}).get("conditions", [])
    said = {condition["type"]: condition["status"] for condition in conditions}
    return (
        said.get(FINISHED) != "True"
        and said.get(ACCEPTED) != "False"
        and said.get(RESOLVED_REFS) != "False"
        and "deletionTimestamp" not in session["metadata"]
    )


def _age(session: KubeObject) -> tuple[str, str]:
    return session["metadata"].get("creationTimestamp", ""), session["metadata"]["name"]


def _created(model: KubeModel) -> str:
    created = model.metadata.creation_timestamp
    return created.strftime("%Y-%m-%dT%H:%M:%SZ") if created is not None else ""
