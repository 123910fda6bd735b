"""Who may start when a tenant's sessions are limited."""

from typing import Any

import pytest

from agentsession.resources.names import SESSION_LABEL, SESSION_NAMESPACE_LABEL, TENANT_LABEL, runner_pod_name
from agentsession.sessions.slots import Slot, free_slots, next_waiting

pytestmark = pytest.mark.unit


def session(name: str, created: str = "2026-01-01T00:00:00Z", tenant: str = "default", **conditions: str) -> Any:
    """A session; conditions as Type="Status Reason"."""
    said = [{"type": type_, "status": text.split()[0], "reason": text.split()[1]} for type_, text in conditions.items()]
    return {
        "metadata": {"name": name, "namespace": "n", "uid": f"{name}-0000-uid", "creationTimestamp": created},
        "spec": {"tenantRef": {"name": tenant}},
        "status": {"conditions": said},
    }


def pod_of(owner: Any, tenant: str = "default") -> Any:
    name = runner_pod_name(owner["metadata"]["name"], owner["metadata"]["uid"])
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "labels": {TENANT_LABEL: tenant, SESSION_LABEL: owner["metadata"]["uid"]},
        }
    }


OLD = session("old", "2026-01-01T00:00:00Z")
MINE = session("mine", "2026-01-01T00:00:01Z")
YOUNG = session("young", "2026-01-01T00:00:02Z")
ALL = [OLD, MINE, YOUNG]


def held(owner: Any) -> Any:
    return {**owner, "spec": {**owner["spec"], "suspend": True}}


def test_a_suspended_session_stands_in_nobodys_way() -> None:
    assert free_slots(MINE, [OLD, MINE], [], [], 1) == 0
    assert free_slots(MINE, [held(OLD), MINE], [], [], 1) == 1
    waiting = [session(f"s{n}", f"2026-01-01T00:00:0{n}Z", Ready="False TenantAtCapacity") for n in range(2)]
    of_one = {"metadata": {"name": "default"}, "spec": {"sessions": {"maxConcurrent": 1}}}
    assert next_waiting(waiting, [], of_one) == waiting[:1]
    assert next_waiting([held(waiting[0]), waiting[1]], [], of_one) == waiting[1:]


def test_older_ones_that_wait_come_first() -> None:
    assert [free_slots(item, ALL, [], [], 2) for item in ALL] == [2, 1, 0]


def test_a_pod_holds_a_slot_even_if_its_session_is_gone() -> None:
    assert free_slots(MINE, ALL, [pod_of(OLD)], [], 2) == 1
    assert free_slots(MINE, [MINE], [pod_of(OLD)], [], 2) == 1
    assert free_slots(MINE, [MINE], [pod_of(YOUNG)], [], 1) == 0


def test_a_pod_that_is_being_created_holds_a_slot_once() -> None:
    coming = Slot(("n", "default"), YOUNG["metadata"]["uid"], ("n", "young-pod"))
    assert free_slots(MINE, [MINE, YOUNG], [], [coming], 1) == 0
    assert free_slots(MINE, [MINE, YOUNG], [pod_of(YOUNG)], [coming], 2) == 1


def test_other_tenants_and_namespaces_do_not_count() -> None:
    other = session("old", tenant="other")
    assert free_slots(MINE, [other, MINE], [pod_of(other, "other")], [Slot(("m", "default"), "u", ("m", "p"))], 1) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"Finished": "True Completed"},
        {"Accepted": "False ImageNotAllowed"},
        {"ResolvedRefs": "False ModelNotAllowed"},
        {"ResolvedRefs": "False PromptNotFound"},
        {"ResolvedRefs": "False PoolNotFound"},
        {"ResolvedRefs": "False SharedPoolNotAllowed"},
        {"Ready": "False PodRefused"},
        {"Ready": "False WidenedByPolicy"},
    ],
)
def test_what_cannot_start_holds_nobody_up(said: dict[str, str]) -> None:
    assert free_slots(MINE, [session("old", **said), MINE], [], [], 1) == 1


def test_what_waited_for_the_tenant_comes_first_when_it_is_there() -> None:
    waited = session("old", ResolvedRefs="False TenantNotFound")
    assert free_slots(MINE, [waited, MINE], [], [], 1) == 0


def test_what_is_being_deleted_holds_nobody_up() -> None:
    going = session("old")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:09Z"
    assert free_slots(MINE, [going, MINE], [], [], 1) == 1


def test_sessions_of_the_same_second_go_by_name() -> None:
    first, second = session("a"), session("b")
    assert (free_slots(first, [second, first], [], [], 1), free_slots(second, [second, first], [], [], 1)) == (1, 0)


def tenant(most: int | None) -> Any:
    sessions = {} if most is None else {"maxConcurrent": most}
    return {"metadata": {"name": "default", "namespace": "n"}, "spec": {"sessions": sessions}}


WAITS = {"Ready": "False TenantAtCapacity"}
FIRST, SECOND = session("x", "2026-01-01T00:00:01Z", **WAITS), session("a", "2026-01-01T00:00:02Z", **WAITS)


@pytest.mark.parametrize(
    ("most", "next_"), [(1, []), (2, [FIRST]), (3, [FIRST, SECOND]), (9, [FIRST, SECOND]), (None, [FIRST, SECOND])]
)
def test_the_oldest_that_wait_are_next(most: int | None, next_: list[Any]) -> None:
    foreign = session("o", "2026-01-01T00:00:00Z", "other", **WAITS)
    sessions = [OLD, SECOND, FIRST, foreign]
    assert next_waiting(sessions, [pod_of(OLD), pod_of(foreign, "other")], tenant(most)) == next_


def away(pod: Any, home: str) -> Any:
    """The same in a shared pool, for a session of that namespace."""
    labels = {**pod["metadata"]["labels"], SESSION_NAMESPACE_LABEL: home}
    return {"metadata": {**pod["metadata"], "namespace": "pools", "labels": labels}}


def test_a_runner_in_a_shared_pool_holds_a_slot_of_its_sessions_tenant() -> None:
    mine, theirs = away(pod_of(OLD), "n"), away(pod_of(OLD), "m")
    assert (free_slots(MINE, [MINE], [mine], [], 1), free_slots(MINE, [MINE], [theirs], [], 1)) == (0, 1)
    waits = session("waits", Ready="False TenantAtCapacity")
    limited = {"metadata": {"name": "default", "namespace": "n"}, "spec": {"sessions": {"maxConcurrent": 1}}}
    assert (next_waiting([waits], [mine], limited), next_waiting([waits], [theirs], limited)) == ([], [waits])
    guest = {"metadata": {**theirs["metadata"], "namespace": "n"}}
    assert free_slots(MINE, [MINE], [guest], [], 1) == 1
