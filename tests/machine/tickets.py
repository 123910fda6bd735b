"""What the tickets of those who wait for a pool's runner are judged by, in the moment of each change.

Who has a lower one is served first, where nothing hinders it: the order is judged while the leader has calm, for a
request that was lost or took long, a watch that hangs and a leader that has just begun do hinder.
"""

import math
from collections.abc import Callable, Iterable

from agentsession.api.session import AgentSession
from agentsession.kube.objects import Key, KubeObject, condition_of, is_terminating, labels_of, uid_of
from agentsession.resources.names import POOL_LABEL, SESSION_LABEL
from agentsession.runners.claimants import POOL_EXHAUSTED
from agentsession.sessions.offer import pool_key

LATELY = 1.0
"""Seconds after which a leader whose watches flow has heard of a change."""


class Tickets:
    """Of all pools. sessions: all that there are. calm: whether the change just now is that of a leader that has it."""

    def __init__(
        self,
        sessions: Callable[[], Iterable[AgentSession]],
        calm: Callable[[], bool],
        broken: Callable[[str], None],
    ) -> None:
        self._sessions = sessions
        self._calm = calm
        self._broken = broken
        self._waits: dict[str, tuple[int, float]] = {}
        """By the uid of a session that was told to wait: its generation, and since when it has nothing else to do."""
        self._ready: dict[str, tuple[str, float]] = {}
        """By the uid of an unclaimed runner that was ready: its pool's uid, and until when it was."""

    def session_changed(self, session: AgentSession, ticket: int | None, now: float) -> None:
        """ticket: what it had before. now: seconds."""
        uid, generation, name = session.metadata.uid, session.metadata.generation, session.metadata.name
        if not any(item.reason == POOL_EXHAUSTED for item in session.status.conditions):
            self._waits.pop(uid, None)
        elif self._waits.get(uid, (0, 0.0))[0] != generation:
            self._waits[uid] = generation, now
        if session.status.ticket == ticket:
            return
        if ticket is not None:
            self._broken(f"session {name} had ticket {ticket}, and now has {session.status.ticket}")
        for other in self._naming(pool_key(session)):
            if other.status.ticket == session.status.ticket and other.metadata.uid != uid:
                self._broken(f"sessions {name} and {other.metadata.name} both have ticket {other.status.ticket}")

    def runner_changed(self, kind: str, pod: KubeObject, session_uid: str, now: float) -> None:
        """session_uid: of whom it serves, if it does."""
        uid, pool_uid, gone = uid_of(pod), labels_of(pod).get(POOL_LABEL, ""), kind == "DELETED"
        if SESSION_LABEL in labels_of(pod):
            self._ready.pop(uid, None)
        elif condition_of(pod, "Ready")[0] == "True" and not (gone or is_terminating(pod)):
            self._ready[uid] = pool_uid, math.inf
        elif self._ready.get(uid, ("", 0.0))[1] == math.inf:
            self._ready[uid] = pool_uid, now
        if session_uid in self._waits:
            self._waits[session_uid] = self._waits[session_uid][0], now if gone else math.inf

    def claimed(self, pod: KubeObject, session: AgentSession, now: float) -> None:
        """Before it does, so many runners are left as there are sessions with lower tickets. Call it after
        `runner_changed`."""
        if not self._calm():
            return
        left = sum(item == labels_of(pod)[POOL_LABEL] and until > now - LATELY for item, until in self._ready.values())
        mine = math.inf if session.status.ticket is None else session.status.ticket
        earlier = [
            other.metadata.name
            for other in self._naming(pool_key(session))
            if (other.status.ticket or mine) < mine and self._waits_since(other) < now - LATELY
        ]
        if len(earlier) > left:
            name = session.metadata.name
            self._broken(f"session {name} is given a runner before {earlier}, who were first: {left} are left for them")

    def _naming(self, pool: Key | None) -> Iterable[AgentSession]:
        return (session for session in self._sessions() if pool_key(session) == pool)

    def _waits_since(self, session: AgentSession) -> float:
        """When it began to do nothing but wait. Seconds; infinite if it does not."""
        going = session.spec.suspend or session.metadata.deletion_timestamp is not None
        return math.inf if going else self._waits.get(session.metadata.uid, (0, math.inf))[1]
