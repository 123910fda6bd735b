"""Whether a spec can ever work, and whether what it names is there."""

from agentsession.api.installation import Installation
from agentsession.api.pool import PoolTemplate
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.kube.objects import Key
from agentsession.runners.requirements import impossible, no_tenant, wrong_model
from agentsession.runners.trouble import Trouble

from .observed import Observed
from .offer import POOL_NOT_FOUND, pool_key


def refusal(session: AgentSession, install: Installation) -> Trouble | None:
    """What makes the spec impossible in this installation; only a change of either helps."""
    if session.spec.agent is None:
        return None  # the pool's to say
    return impossible(PoolTemplate(agent=session.spec.agent, runtime=session.spec.runtime), install, "spec")


def unresolved(session: AgentSession, seen: Observed) -> Trouble | None:
    """What the spec names and is missing or may not be used. The session goes on by itself once it is put right."""
    namespace = session.metadata.namespace
    lacking = no_tenant(seen.tenant, seen.tenant_problem, session.spec.tenant_ref.name, namespace)
    if lacking is not None or seen.tenant is None:
        return lacking
    pool = pool_key(session)
    if pool is not None and (refused := not_consented(session, seen.tenant, pool[0])) is not None:
        return refused
    none = seen.offer.none if seen.offer is not None else None
    if seen.template is None or (none is not None and none.reason == POOL_NOT_FOUND):
        return _no_pool(pool or (namespace, ""), namespace)
    if (wrong := wrong_model(seen.template.agent, seen.tenant, "spec")) is not None:
        return Trouble("ModelNotAllowed", wrong)
    if seen.prompt_problem is not None:
        return Trouble("PromptNotFound", seen.prompt_problem)
    return None


def not_consented(session: AgentSession, tenant: AgentTenant, namespace: str) -> Trouble | None:
    """That the tenant does not let its session's runner be in that namespace."""
    if namespace in (session.metadata.namespace, *tenant.spec.shared_pools.namespaces):
        return None
    why = f"AgentTenant {tenant.metadata.name} does not consent to shared pools of namespace {namespace}"
    return Trouble("SharedPoolNotAllowed", f"spec.poolRef: {why}: add it to the tenant's spec.sharedPools.namespaces")


def _no_pool(pool: Key, namespace: str) -> Trouble:
    """What there is in another namespace is told to nobody whom it does not admit."""
    if pool[0] == namespace:
        why = f"there is no AgentPool {pool[1]} in namespace {namespace}: create it"
        return Trouble(POOL_NOT_FOUND, f"spec.poolRef: {why}")
    why = f"there is no AgentPool {pool[1]} in namespace {pool[0]} that admits sessions of namespace {namespace}"
    return Trouble(POOL_NOT_FOUND, f"spec.poolRef: {why}: have its spec.allowedNamespaces select it")
