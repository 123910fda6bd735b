"""Which sessions wait for a runner of a pool, and in what order: by the tickets that they were given. Pure."""

import heapq
from collections.abc import Callable, Iterable, Iterator

from agentsession.api.session import AgentSession
from agentsession.kube.objects import KubeObject, uid_of

POOL_EXHAUSTED = "PoolExhausted"
"""It waits for a runner of its pool."""

Turn = tuple[float, str, str, str]
"""Of two that wait, the lower is served first."""
Serves = Callable[[str], object]
"""Whether a runner serves the session of that uid: its status may not say so yet."""


def waiting(sessions: Iterable[KubeObject], served: Serves) -> Iterator[KubeObject]:
    """Those that still wait. sessions: all that name the pool, and give POOL_EXHAUSTED for not being ready."""
    return (item for item in sessions if not suspended(item) and not served(uid_of(item)))


def waiting_before(session: AgentSession, sessions: Iterable[KubeObject], served: Serves) -> int:
    """How many wait whose turn comes before its own."""
    mine = _turn_of(session)
    return sum(turn(other) < mine for other in waiting(sessions, served))


def next_claimants(sessions: Iterable[KubeObject], served: Serves, ready: int) -> list[KubeObject]:
    """Of those that wait the first, as many as the pool has runners ready."""
    return heapq.nsmallest(ready, waiting(sessions, served), key=turn)


def ticket_of(session: KubeObject) -> int | None:
    """Its number among those that wait for its pool; None if it never had to."""
    status = session.get("status")
    ticket = status.get("ticket") if isinstance(status, dict) else None
    return ticket if isinstance(ticket, int) else None


def turn(session: KubeObject) -> Turn:
    """By ticket; who has none comes after those that have one, the older first."""
    return _turn(ticket_of(session), *age(session))


def age(session: KubeObject) -> tuple[str, str, str]:
    """The older, the lower."""
    metadata = session["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["name"], metadata.get("namespace", "")


def suspended(session: KubeObject) -> bool:
    """Whether it is not to have a runner now."""
    spec = session.get("spec")
    return isinstance(spec, dict) and spec.get("suspend") is True


def _turn(ticket: int | None, created: str, name: str, namespace: str) -> Turn:
    return (float("inf") if ticket is None else ticket), created, name, namespace


def _turn_of(session: AgentSession) -> Turn:
    created = session.metadata.creation_timestamp
    text = created.strftime("%Y-%m-%dT%H:%M:%SZ") if created is not None else ""
    return _turn(session.status.ticket, text, session.metadata.name, session.metadata.namespace)
