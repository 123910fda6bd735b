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
        self._given: dict[Key, tuple[str, int]] = {}
        """With the session's uid: another one may have its name before it was heard that it is gone."""

    def give(self, pool: AgentPool, session: Key, uid: str) -> int:
        """The session's, which its status is to hold; the same one until `forget`."""
        if session not in self._given or self._given[session][0] != uid:
            self._given[session] = uid, self._next(pool)
        return self._given[session][1]

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
