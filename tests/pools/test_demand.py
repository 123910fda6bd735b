"""What a pool that sizes itself reads from objects."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from agentsession.kube.objects import KubeObject
from agentsession.pools.demand import Demand
from agentsession.runners.podstatus import PodStatus
from agentsession.runners.podview import PodView
from tests.sessions.build import NOW

from .test_decide import warm

pytestmark = pytest.mark.unit


def came(*ages: float) -> list[KubeObject]:
    """Sessions, by how many seconds ago they were created."""
    times = [(NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ") for age in ages]
    return [{"metadata": {"uid": f"{age}", "creationTimestamp": at}} for age, at in zip(ages, times, strict=True)]


def size(of: Demand, sessions: Iterable[KubeObject], *runners: PodView, now: datetime = NOW) -> int:
    return of.size(sessions, runners, 0.95, now)


BUSY = came(*range(0, 100, 2))


def test_a_new_leader_begins_with_what_is_there() -> None:
    assert size(Demand(0, NOW), BUSY) > 5
    assert size(Demand(0, NOW), []) == 0


def test_nobody_is_counted_twice() -> None:
    once, often = Demand(0, NOW), Demand(0, NOW)
    for _ in range(50):
        size(often, BUSY)
    assert size(often, BUSY) == size(once, BUSY)


def test_what_came_long_ago_asks_for_nothing() -> None:
    assert size(Demand(0, NOW), came(*range(4000, 4100, 2))) == 0


def test_a_clock_that_is_ahead_does_no_harm() -> None:
    assert size(Demand(0, NOW), came(-3600, *range(0, 100, 2))) > 5


def test_slow_runners_need_more() -> None:
    slow = warm("a", created=NOW - timedelta(seconds=60), ready_at=NOW)
    quick = warm("a", created=NOW - timedelta(seconds=2), ready_at=NOW)
    assert size(Demand(0, NOW), BUSY, slow) > 2 * size(Demand(0, NOW), BUSY, quick)


def test_how_long_they_took_is_remembered_when_none_is_ready() -> None:
    demand = Demand(0, NOW)
    before = size(demand, BUSY, warm("a", created=NOW - timedelta(seconds=60), ready_at=NOW))
    assert size(demand, BUSY) == before


def test_since_when_a_pod_is_ready() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": NOW.isoformat()}
    assert PodStatus.model_validate({"conditions": [ready]}).since("Ready") == NOW
    assert PodStatus.model_validate({"conditions": [{**ready, "status": "False"}]}).since("Ready") is None
