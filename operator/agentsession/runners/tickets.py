"""Tickets: each session that begins to wait for a pool's runner gets the next number, once.

The leader counts, from the first number of its term on. So no two leaders give the same one, and a later leader's come
after all of an earlier one's: also if its watch has not told it yet of who waits, or a status comes late.
"""

from agentsession.api.pool import AgentPool
from agentsession.kube.caches import Caches
from agentsession.kube.objects import Key

from .claimants import ticket_of

TERM = 1_000_000
"""Numbers for each term."""


class Tickets:
    """Of all pools. epoch: of this leader's term."""

    def __init__(self, caches: Caches, epoch: int) -> None:
        self._caches = caches
        self._before = max(0, epoch - 1) * TERM
        self._last: dict[str, int] = {}
        self._given: dict[Key, int] = {}

    def give(self, pool: AgentPool, session: Key) -> int:
        """The session's, which its status is to hold; the same one until `forget`."""
        if session not in self._given:
            self._given[session] = self._next(pool)
        return self._given[session]

    def forget(self, session: Key) -> None:
        """Its status holds it, or it is gone."""
        self._given.pop(session, None)

    def _next(self, pool: AgentPool) -> int:
        """Above all that are held too: epochs begin anew when neither the Lease nor any runner is left."""
        uid = pool.metadata.uid
        if uid not in self._last:
            held = (ticket_of(session) or 0 for session in self._caches.naming(pool.key))
            self._last[uid] = max([self._before, *held])
        self._last[uid] += 1
        return self._last[uid]
