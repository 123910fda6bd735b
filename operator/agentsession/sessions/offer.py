"""What a session's pool has for it: a runner made just as it asks, or the reason why it gets none. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from agentsession.api.pool import AgentPool, PoolTemplate
from agentsession.api.session import AgentSession, Runtime
from agentsession.api.tenant import AgentTenant
from agentsession.kube.objects import Key
from agentsession.runners.claimants import POOL_EXHAUSTED
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import Trouble

POOL_NOT_FOUND, COLD_START = "PoolNotFound", "ColdStart"
"""It waits for the pool; it has a runner made for it alone, because the pool has none for it."""

ALONE = "a runner is started for this session alone"


@dataclass(frozen=True)
class Offer:
    """Either a runner to claim, or why there is none."""

    runner: PodView | None = None
    none: Trouble | None = None


def template_of(session: AgentSession, pool: AgentPool | None) -> PoolTemplate | None:
    """What the session's runner is to be; None while it is left to a pool that is not there."""
    spec = session.spec
    if spec.agent is not None:
        return PoolTemplate(agent=spec.agent, runtime=spec.runtime)
    if pool is None:
        return None
    return (
        pool.spec.template
        if spec.runtime == Runtime()
        else PoolTemplate(agent=pool.spec.template.agent, runtime=spec.runtime)
    )


def pool_key(session: AgentSession) -> Key | None:
    """The AgentPool that it names."""
    ref = session.spec.pool_ref
    return (ref.namespace or session.metadata.namespace, ref.name) if ref is not None else None


def offer(
    session: AgentSession,
    tenant: AgentTenant,
    pool: AgentPool,
    wanted: str,
    current: str,
    runners: Iterable[PodView],
    ahead: int,
) -> Offer:
    """wanted, current: revisions of what the session asks for and of what the pool makes now.

    runners: the pool's pods that nobody is claiming, in the order in which they are to be taken. ahead: sessions that
    wait for one of them before it.
    """
    name = "/".join(pool.key) if pool.metadata.namespace != session.metadata.namespace else pool.metadata.name
    if pool.spec.tenant is None and tenant.spec.workspace is not None:
        why = f"AgentPool {name} is shared and keeps no files, and AgentTenant {tenant.metadata.name} has a workspace"
        return Offer(none=Trouble(COLD_START, f"{why}: {ALONE}"))
    if pool.spec.tenant not in (None, tenant.metadata.name):
        return Offer(none=Trouble(COLD_START, f"AgentPool {name} is of AgentTenant {pool.spec.tenant}: {ALONE}"))
    if wanted != current:
        why = f"AgentPool {name} has another template than this session's agent and runtime: {ALONE}"
        return Offer(none=Trouble(COLD_START, f"{why}; leave them to the pool, or make them equal"))
    ready = (pod for pod in runners if _ready(pod, pool, current))
    if (runner := next(islice(ready, ahead, None), None)) is not None:
        return Offer(runner=runner)
    if session.spec.pool_ref is not None and session.spec.pool_ref.on_exhausted == "Wait":
        why = f"AgentPool {name} has no runner ready: status.nowServing there says when status.ticket here is served"
        return Offer(none=Trouble(POOL_EXHAUSTED, why))
    return Offer(none=Trouble(COLD_START, f"AgentPool {name} has no runner ready: {ALONE}"))


def _ready(pod: PodView, pool: AgentPool, revision: str) -> bool:
    ours = pod.made_for(pool.metadata.uid, revision)
    return ours and pod.grant is None and pod.ready and not pod.deleting and not pod.ended
