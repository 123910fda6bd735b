"""Who waits for a pool, and whose turn it is."""

from typing import Any

import pytest

from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession
from agentsession.kube.caches import Caches
from agentsession.runners.claimants import next_claimants, waiting_before
from agentsession.runners.tickets import Tickets

pytestmark = pytest.mark.unit

POOL = AgentPool.model_validate(
    {"metadata": {"name": "p", "namespace": "n", "uid": "pool"}, "spec": {"template": {"agent": {"model": "m"}}}}
)


def waits(name: str, ticket: int | None = None, pool: str = "p") -> dict[str, Any]:
    status: dict[str, Any] = {"conditions": [{"type": "Ready", "status": "False", "reason": "PoolExhausted"}]}
    return {
        "metadata": {"name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"poolRef": {"name": pool}, "prompt": "hello"},
        "status": status if ticket is None else status | {"ticket": ticket},
    }


def names(sessions: list[Any]) -> list[str]:
    return [item["metadata"]["name"] for item in sessions]


def test_tickets_are_served_in_their_order_and_before_who_has_none() -> None:
    queue = [waits("a"), waits("b", 10), waits("c", 9), waits("0")]
    assert names(next_claimants(queue, lambda _: None, 9)) == ["c", "b", "0", "a"]
    assert names(next_claimants(queue, {"c": True}.get, 1)) == ["b"]


@pytest.mark.parametrize(("name", "ticket", "ahead"), [("c", 9, 0), ("b", 10, 1), ("a", None, 3), ("new", None, 4)])
def test_who_waits_counts_those_before_it(name: str, ticket: int | None, ahead: int) -> None:
    queue = [waits("a"), waits("b", 10), waits("c", 9), waits("0")]
    me = AgentSession.model_validate(waits(name, ticket) | {"status": {"ticket": ticket}})
    assert waiting_before(me, queue, lambda _: None) == ahead


def test_a_ticket_is_given_once_and_goes_on_after_the_highest() -> None:
    caches = Caches()
    first = Tickets(caches, 1)
    assert [first.give(POOL, ("n", name), name) for name in "aabc"] == [1, 1, 2, 3]
    first.forget(("n", "a"))
    assert first.give(POOL, ("n", "a"), "a") == 4
    assert first.give(POOL, ("n", "a"), "another of that name") == 5
    for held in (waits("a", 7), waits("b", 3), waits("c", 50, pool="other"), waits("d")):
        caches.sessions.observe("ADDED", held)
    second = Tickets(caches, 1)
    assert [second.give(POOL, ("n", name), name) for name in "ef"] == [8, 9]


def test_leaders_never_give_the_same_ticket_and_a_later_one_gives_higher_ones() -> None:
    """Though the second has not heard of whom the first has told."""
    first, second = (Tickets(Caches(), epoch) for epoch in (7, 8))
    for name in "ab":
        assert first.give(POOL, ("n", name), name) < second.give(POOL, ("n", name), name)
    assert first.give(POOL, ("n", "late"), "late") < second.give(POOL, ("n", "a"), "a")
