"""Expectations, with a clock in hand."""

import pytest

from agentsession.kube.expectations import TIMEOUT, Expectations
from agentsession.kube.resource import PERSISTENTVOLUMECLAIMS, PODS
from tests.kube.objects import pod

pytestmark = pytest.mark.unit

OWNER = "owner-uid"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def expectations(clock: Clock) -> Expectations:
    return Expectations(clock)


def test_nothing_expected_is_satisfied(expectations: Expectations) -> None:
    assert expectations.satisfied(OWNER)


def test_a_creation_holds_its_owner_up_until_it_is_seen(expectations: Expectations) -> None:
    expectations.creation(OWNER, PODS, "a")
    assert not expectations.satisfied(OWNER)
    assert expectations.satisfied("another owner")
    expectations.observe("ADDED", PODS, pod("b", owner=OWNER))
    expectations.observe("ADDED", PODS, pod("a", owner="another owner"))
    expectations.observe("ADDED", PERSISTENTVOLUMECLAIMS, pod("a", owner=OWNER))
    assert not expectations.satisfied(OWNER), "something else was seen"
    expectations.observe("ADDED", PODS, pod("a", owner=OWNER))
    assert expectations.satisfied(OWNER)


@pytest.mark.parametrize(("event", "terminating"), [("DELETED", False), ("MODIFIED", True)])
def test_a_deletion_is_seen_when_it_is_done_or_under_way(
    expectations: Expectations, event: str, terminating: bool
) -> None:
    expectations.deletion(OWNER, PODS, "uid-of-a")
    expectations.observe("MODIFIED", PODS, pod("a", owner=OWNER))
    expectations.observe("DELETED", PODS, pod("a", owner=OWNER, uid="its successor"))
    assert not expectations.satisfied(OWNER)
    expectations.observe(event, PODS, pod("a", owner=OWNER, terminating=terminating))
    assert expectations.satisfied(OWNER)


def test_all_of_several_are_awaited(expectations: Expectations) -> None:
    expectations.creation(OWNER, PODS, "a")
    expectations.creation(OWNER, PODS, "b")
    expectations.observe("ADDED", PODS, pod("a", owner=OWNER))
    assert not expectations.satisfied(OWNER)
    expectations.observe("ADDED", PODS, pod("b", owner=OWNER))
    assert expectations.satisfied(OWNER)


def test_a_write_that_was_refused_is_not_awaited(expectations: Expectations) -> None:
    expected = expectations.creation(OWNER, PODS, "a")
    expectations.withdraw(OWNER, expected)
    assert expectations.satisfied(OWNER)


def test_what_is_never_seen_is_given_up(expectations: Expectations, clock: Clock) -> None:
    expectations.creation(OWNER, PODS, "a")
    clock.now += TIMEOUT - 0.1
    assert not expectations.satisfied(OWNER)
    clock.now += 0.1
    assert expectations.satisfied(OWNER)


def test_an_owner_that_is_gone_is_forgotten(expectations: Expectations) -> None:
    expectations.creation(OWNER, PODS, "a")
    expectations.forget(OWNER)
    assert expectations.satisfied(OWNER)
