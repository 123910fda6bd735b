"""Whether a spec can ever work, and whether what it names is there."""

from agentsession.api.installation import Installation
from agentsession.api.pool import PoolTemplate
from agentsession.api.session import AgentSession
from agentsession.runners.requirements import impossible, no_tenant, wrong_model
from agentsession.runners.trouble import Trouble

from .observed import Observed
from .offer import POOL_NOT_FOUND


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
    none = seen.offer.none if seen.offer is not None else None
    if seen.template is None or (none is not None and none.reason == POOL_NOT_FOUND):
        pool = session.spec.pool_ref.name if session.spec.pool_ref is not None else ""
        why = f"spec.poolRef: there is no AgentPool {pool} in namespace {namespace}: create it"
        return Trouble(POOL_NOT_FOUND, why)
    if (wrong := wrong_model(seen.template.agent, seen.tenant, "spec")) is not None:
        return Trouble("ModelNotAllowed", wrong)
    if seen.prompt_problem is not None:
        return Trouble("PromptNotFound", seen.prompt_problem)
    return None
