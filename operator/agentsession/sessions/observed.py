"""What a decision is made from, besides the session itself."""

from dataclasses import dataclass
from datetime import datetime

from agentsession.api.pool import PoolTemplate
from agentsession.api.report import SessionUsage
from agentsession.api.tenant import AgentTenant
from agentsession.runners.podview import PodView
from agentsession_runner.protocol import State

from .holdup import Claim
from .offer import Offer


@dataclass(frozen=True)
class Observed:
    """A snapshot. Nothing in it is fetched, but the text of promptFrom before the first turn."""

    tenant: AgentTenant | None
    tenant_problem: str | None
    """Why the tenant cannot be read, if it is there and cannot."""
    namespace_ready: bool
    """The namespace is known and has our NetworkPolicy as it should be."""
    namespace_terminating: bool
    """It is being deleted: nothing can be created in it."""
    claim: Claim | None
    """The tenant's; None if it has no workspace."""
    widened_by: str | None
    """The NetworkPolicy of somebody else's that also selects the pod and lets it reach more."""
    prompt: str | None
    """Text of the first turn; None if promptFrom does not resolve, or is no longer needed."""
    prompt_problem: str | None
    template: PoolTemplate | None
    """What its runner is to be; None while that is left to a pool that is not there."""
    offer: Offer | None
    """What its pool has for it; None if it names none, or does not start warm any more."""
    ticket: int | None
    """Its number in the queue of that pool; None if it has never waited there."""
    claimed_before: bool
    """A warm runner was given to it and is gone: what that one did is known only once all usage is pulled."""
    pod: PodView | None
    strays: list[PodView]
    """Further pods that are for this session: at most one is served."""
    runner: State | None
    """The runner's latest word; None before it was heard."""
    refusals: int
    """How often in a row the runner has refused to be bound or prompted."""
    usage: list[SessionUsage]
    lost_meters: frozenset[str]
    """Egress processes that are gone and served the session, or may have: what they served last was not heard."""
    usage_until: datetime | None
    """All that it was served until then is in `usage`, or is lost; None while that is not known."""
    free_slots: int
    """How many more sessions of the tenant may start, seen from this one: older waiting ones come first."""
