"""What a pool's decision is made from, besides the pool itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from agentsession.runners.podview import PodView
from agentsession.runners.trouble import Trouble

RECENT = timedelta(seconds=3)
"""A runner takes so long to start on an idle node: as many claims as came in that time may come before it is ready."""


@dataclass(frozen=True)
class Refused:
    """That the API server did not take a runner, as for a quota, and when."""

    why: Trouble
    at: datetime


@dataclass(frozen=True)
class Observed:
    """A snapshot, from caches."""

    unresolved: Trouble | None
    """Why no runner can be made now, and what has to be there for one."""
    revision: str
    """What a runner would be made from now; empty while `unresolved`."""
    runners: list[PodView]
    """The pool's pods that no session has claimed."""
    claimed: int
    waiting: int
    """Sessions that wait for a runner of the pool."""
    now_serving: int | None
    """Lowest ticket of those."""
    demand: int
    """Runners that the arrival of sessions asks for; 0 if the pool does not size itself."""
    last_claim: datetime | None
    """When a session claimed one last, of those that still serve; now, if one is doing so."""
    recent_claims: int
    """How many have claimed one within RECENT, and still serve, or are doing so now."""
    refilling: bool
    """More were to be made in the last step."""
    refused: Refused | None
    """The latest attempt, if it was."""
