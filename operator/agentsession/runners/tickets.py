"""Tickets: each session that begins to wait for a pool's runner gets the next number, once.

The leader counts; who takes over goes on after the highest that any session holds.
"""

from agentsession.api.pool import AgentPool
from agentsession.kube.caches import Caches
from agentsession.kube.objects import Key

from .claimants import ticket_of


class Tickets:
    """Of all pools."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
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
        uid = pool.metadata.uid
        if uid not in self._last:
            held = (ticket_of(session) or 0 for session in self._caches.naming(pool.key))
            self._last[uid] = max(held, default=0)
        self._last[uid] += 1
        return self._last[uid]
