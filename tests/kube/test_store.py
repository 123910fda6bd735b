"""The cache: indices, order of arrival, mark and sweep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsession.kube.cache import Store
from agentsession.kube.objects import KubeObject, key_of, owner_uid
from tests.kube.objects import pod

pytestmark = pytest.mark.unit

KEY = ("ns", "a")


def names(objects: list[KubeObject]) -> list[str]:
    return sorted(key_of(obj)[1] for obj in objects)


def owner(obj: KubeObject) -> list[str]:
    return [uid] if (uid := owner_uid(obj)) else []


def without_version(obj: KubeObject) -> KubeObject:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": "not a number"}}


def test_objects_are_found_every_way() -> None:
    store = Store(index=owner)
    one = pod("a", owner="session")
    two = pod("b", namespace="far")
    assert store.observe("ADDED", one)
    assert store.observe(None, two)
    assert store.get(KEY) is one
    assert store.by_uid("uid-of-b") is two
    assert store.in_namespace("far") == [two]
    assert store.indexed("session") == [one]
    assert store.indexed("not-a-controller") == []
    assert (len(store), names(list(store))) == (2, ["a", "b"])


def test_indices_follow_changes() -> None:
    store = Store(index=owner)
    store.observe("ADDED", pod("a", 1, owner="pool"))
    store.observe("MODIFIED", pod("a", 2, owner="session"))
    assert store.indexed("pool") == []
    assert names(store.indexed("session")) == ["a"]
    store.observe("DELETED", pod("a", 3))
    assert (store.get(KEY), store.by_uid("uid-of-a"), store.indexed("session")) == (None, None, [])
    assert not store._indices


def test_what_changed_last_comes_last() -> None:
    store = Store(index=owner)
    for name in ("c", "a", "b"):
        store.observe("ADDED", pod(name, 1, owner="pool"))
    store.observe("MODIFIED", pod("c", 2, owner="pool"))
    assert [key_of(obj)[1] for obj in store.indexed("pool")] == ["a", "b", "c"]


def test_an_older_or_the_same_state_changes_nothing() -> None:
    store = Store()
    store.observe("MODIFIED", pod("a", 10))
    assert not store.observe("MODIFIED", pod("a", 9, labels={"stale": ""}))
    assert not store.observe("MODIFIED", pod("a", 10, labels={"stale": ""}))
    assert store.get(KEY) == pod("a", 10)


def test_a_late_answer_does_not_raise_the_dead() -> None:
    store = Store()
    store.observe("ADDED", pod("a", 1))
    assert store.observe("DELETED", pod("a", 5))
    assert not store.observe(None, pod("a", 4))
    assert store.get(KEY) is None


@pytest.mark.parametrize("late", [pod("a", 5, uid="first"), without_version(pod("a", uid="first"))])
def test_a_late_deletion_does_not_take_the_successor(late: KubeObject) -> None:
    store = Store()
    store.observe("ADDED", pod("a", 9, uid="second"))
    assert not store.observe("DELETED", late)
    assert store.by_uid("second")


def test_an_object_that_left_the_selector_may_come_back() -> None:
    store = Store()
    store.observe("ADDED", pod("a", 1))
    store.observe("DELETED", pod("a", 2))
    assert store.observe("ADDED", pod("a", 3))


def test_versions_that_are_no_numbers_are_taken_as_they_come() -> None:
    store = Store()
    opaque = without_version(pod("a"))
    store.observe("ADDED", pod("a", 5))
    assert store.observe("MODIFIED", opaque)
    assert store.get(KEY) is opaque


def test_replace_tells_what_was_wrong() -> None:
    store = Store()
    assert not store.synced
    for name in ("same", "stale", "gone"):
        store.observe("ADDED", pod(name, 1))
    store.observe("ADDED", pod("newer than the list", 12))
    changed = store.replace([pod("same", 1), pod("stale", 7), pod("missed", 8)], "10")
    assert changed == {("ns", "stale"), ("ns", "gone"), ("ns", "missed")}
    assert names(list(store)) == ["missed", "newer than the list", "same", "stale"]
    assert store.synced


def test_a_list_does_not_bring_back_what_was_deleted_after_it() -> None:
    store = Store()
    store.observe("ADDED", pod("a", 1))
    store.observe("DELETED", pod("a", 12))
    assert store.replace([pod("a", 1)], "10") == set()
    assert len(store) == 0


def test_who_asks_is_told_of_what_is_gone() -> None:
    store, told = Store(), []
    store.gone = lambda obj: told.append(key_of(obj)[1])
    store.observe("ADDED", pod("a", 1))
    store.observe("MODIFIED", pod("a", 2))
    store.observe("ADDED", pod("b", 1))
    store.observe("DELETED", pod("a", 3))
    store.replace([], "4")
    assert told == ["a", "b"]


@given(st.permutations(range(1, 8)), st.booleans())
def test_the_order_of_arrival_does_not_matter(order: list[int], deleted: bool) -> None:
    store = Store(index=owner)
    for version in order:
        last = version == 7 and deleted
        store.observe("DELETED" if last else "MODIFIED", pod("a", version, owner=f"owner-{version}"))
    assert names(list(store)) == ([] if deleted else ["a"])
    assert names(store.indexed("owner-7")) == ([] if deleted else ["a"])


def test_what_is_not_to_be_kept_is_forgotten_and_not_taken_in() -> None:
    store = Store(index=owner)
    for obj in (pod("a", 1, owner="session"), pod("b", 1, namespace="far", owner="session")):
        store.observe("ADDED", obj)
    store.keep_only(lambda key: key[0] == "ns")
    assert names(list(store)) == names(store.indexed("session")) == ["a"]
    assert not store.observe("MODIFIED", pod("b", 2, namespace="far"))
    assert store.replace([pod("a", 1), pod("c", 1, namespace="far")], "3") == set()
    assert names(list(store)) == ["a"]
