"""What a pool makes, keeps and lets go, and what its status says of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agentsession.api.base import condition
from agentsession.api.pool import AgentPool
from agentsession.keys.membership import Membership
from agentsession.pools.decide import ENDED_HOLDS, LULL, RESIZE, Plan, decide
from agentsession.pools.observed import Observed, Refused
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import Trouble
from tests.sessions.build import INSTALL, NOW, pod

pytestmark = pytest.mark.unit

CURRENT = "rev-2"


def pool(replicas: int = 3, **spec: Any) -> AgentPool:
    """A pool; `spec` in the wire form."""
    return AgentPool.model_validate(
        {
            "metadata": {"name": "p", "namespace": "n", "uid": "pool-1", "generation": 1},
            "spec": {"template": {"agent": {"model": "m"}}, "replicas": replicas, **spec},
        }
    )


def warm(name: str, revision: str = CURRENT, **fields: Any) -> PodView:
    """A runner that waits."""
    member = Membership(pod_uid=name, pool_uid="pool-1", revision=revision)
    return replace(pod(), name=name, uid=name, grant=None, membership=member, **fields)


def seen(*runners: PodView, **fields: Any) -> Observed:
    return replace(
        Observed(
            None,
            CURRENT,
            list(runners),
            claimed=0,
            waiting=0,
            now_serving=None,
            demand=0,
            last_claim=None,
            recent_claims=0,
            refilling=False,
            refused=None,
        ),
        **fields,
    )


def plan(of: AgentPool, what: Observed) -> Plan:
    return decide(of, what, INSTALL, NOW)


def says(made: Plan, type_: str) -> tuple[str, str]:
    found = condition(made.status.conditions, type_)
    return (found.status, found.reason) if found is not None else ("", "")


def test_what_is_missing_is_made() -> None:
    made = plan(pool(3), seen(warm("a"), warm("b", ready=False)))
    assert (made.create, made.delete) == (1, [])
    assert (made.status.replicas, made.status.ready_replicas, made.status.desired_replicas) == (2, 1, 3)


@pytest.mark.parametrize(
    ("claimed", "refilling", "changed", "makes"),
    [
        (timedelta(0), False, {}, 0),
        (LULL, False, {}, 2),
        (timedelta(0), False, {"recent_claims": 2}, 2),
        (timedelta(0), False, {"waiting": 2}, 2),
        (timedelta(0), True, {}, 2),
        (-timedelta(minutes=5), False, {}, 2),
    ],
)
def test_a_pool_that_will_do_for_a_while_is_filled_when_no_claims_come(
    claimed: timedelta, refilling: bool, changed: dict[str, int], makes: int
) -> None:
    what = {"recent_claims": 1, "last_claim": NOW - claimed, "refilling": refilling, **changed}
    made = plan(pool(4), seen(warm("a"), warm("b"), claimed=2, **what))
    assert made.create == makes
    assert made.gently == (timedelta(0) <= claimed < LULL)
    assert made.requeue_after is not None
    assert (made.requeue_after == LULL) == (makes == 0)


def test_what_is_too_much_goes_unready_first_then_the_youngest() -> None:
    old, young = warm("old", created=NOW - timedelta(hours=1)), warm("young", created=NOW)
    assert [gone.name for gone in plan(pool(1), seen(old, young, warm("c", ready=False))).delete] == ["c", "young"]


def test_a_pool_of_none_is_content() -> None:
    made = plan(pool(0), seen())
    assert (made.create, says(made, "Available"), says(made, "Progressing")) == (
        0,
        ("True", "RunnersReady"),
        ("False", "Settled"),
    )


def test_deleting_ones_do_not_count() -> None:
    assert plan(pool(1), seen(warm("a", gone_by=NOW))).create == 1


@pytest.mark.parametrize(("most", "gone"), [(1, 1), (2, 2), (9, 3)])
def test_a_rollout_leaves_enough(most: int, gone: int) -> None:
    old = [warm(name, "rev-1") for name in "abc"]
    made = plan(pool(3, update={"maxUnavailable": most}), seen(*old))
    assert (len(made.delete), made.create) == (gone, gone)
    assert says(made, "Progressing") == ("True", "RollingOut")
    assert says(made, "Reconciling") == ("True", "RollingOut")


def test_a_rollout_waits_for_what_it_has_begun() -> None:
    """The first replacement is not ready yet: no further one goes."""
    made = plan(pool(3), seen(warm("a", "rev-1"), warm("b", "rev-1"), warm("new", ready=False)))
    assert (made.delete, made.create) == ([], 0)


def test_a_stale_one_that_is_not_ready_is_of_no_use_to_anybody() -> None:
    assert [gone.name for gone in plan(pool(2), seen(warm("a"), warm("b", "rev-1", ready=False))).delete] == ["b"]


def test_one_without_the_operators_word_is_replaced() -> None:
    strange = replace(warm("a"), membership=None)
    assert plan(pool(1), seen(strange)).delete == [strange]


def test_an_old_one_is_recycled() -> None:
    old = warm("a", created=NOW - timedelta(hours=25))
    assert plan(pool(1), seen(old)).delete == [old]
    assert plan(pool(1, recycle={"maxAge": "26h"}), seen(old)).requeue_after == timedelta(hours=1)


def test_one_that_ended_keeps_its_place_for_a_while() -> None:
    trouble = Trouble("ImageUnavailable", "no such image")
    ended = warm("a", phase="Failed", ready=False, ended_at=NOW - timedelta(seconds=10), trouble=trouble)
    made = plan(pool(1), seen(ended))
    assert (made.create, made.delete, made.requeue_after) == (0, [], ENDED_HOLDS - timedelta(seconds=10))
    assert says(made, "Degraded") == ("True", "ImageUnavailable")
    later = replace(ended, ended_at=NOW - ENDED_HOLDS)
    made = plan(pool(1), seen(later))
    assert (made.create, made.delete) == (1, [later])


def test_a_refused_pod_is_tried_again_after_a_while() -> None:
    quota, empty = Trouble("PodRefused", "exceeded quota"), pool(1)
    at, waits = NOW, []
    for _ in range(6):
        refused = seen(refused=Refused(quota, at))
        made = decide(empty, refused, INSTALL, at)
        assert made.requeue_after is not None
        assert (made.create, says(made, "Degraded")) == (0, ("True", "PodRefused"))
        at, empty = at + made.requeue_after, empty.model_copy(update={"status": made.status})
        assert decide(empty, refused, INSTALL, at).create == 1
        waits.append(made.requeue_after.total_seconds())
    assert waits == [5, 5, 10, 20, 30, 30]


def test_a_wrong_template_is_final_and_its_runners_go() -> None:
    made = plan(pool(1, template={"agent": {"model": "m"}, "runtime": {"image": "mine"}}), seen(warm("a")))
    assert says(made, "Accepted") == ("False", "ImageNotAllowed")
    assert says(made, "Stalled") == ("True", "ImageNotAllowed")
    assert [gone.name for gone in made.delete] == ["a"]
    assert "spec.template.runtime.image" in made.status.conditions[0].message


def test_what_is_missing_is_waited_for() -> None:
    made = plan(pool(1), seen(unresolved=Trouble("TenantNotFound", "create it")))
    assert (made.create, says(made, "ResolvedRefs"), says(made, "Reconciling")) == (
        0,
        ("False", "TenantNotFound"),
        ("True", "TenantNotFound"),
    )


def test_daily_life_is_no_progress_to_wait_for() -> None:
    """helm --wait and GitOps tools judge by Reconciling: a runner that was claimed must not undo an installation."""
    first = plan(pool(1), seen())
    assert says(first, "Reconciling") == ("True", "Filling")
    ready = plan(pool(1), seen(warm("a")))
    assert says(ready, "Reconciling") == ("", "")
    after = pool(1).model_copy(update={"status": ready.status})
    assert says(plan(after, seen(claimed=1)), "Reconciling") == ("", "")


def test_sessions_that_wait_are_said() -> None:
    assert says(plan(pool(1), seen(waiting=2)), "Exhausted") == ("True", "SessionsWait")


@pytest.mark.parametrize(
    ("mode", "demand", "waiting", "desired"),
    [
        ("Fixed", 7, 0, 3),
        ("Auto", 7, 0, 7),
        ("Auto", 7, 2, 9),
        ("Auto", 70, 0, 20),
        ("Auto", 0, 0, 4),
        ("External", 7, 0, 4),
    ],
)
def test_who_chooses_the_size(mode: str, demand: int, waiting: int, desired: int) -> None:
    sized = pool(3, scaling={"mode": mode, "min": 4, "max": 20})
    made = plan(sized, seen(demand=demand, waiting=waiting))
    assert (made.create, made.status.desired_replicas) == (desired, desired)
    assert made.requeue_after == (RESIZE if mode == "Auto" else None)


def test_a_shared_pool_is_refused_where_the_installer_lists_none_and_lets_its_runners_go() -> None:
    shared = pool(2, allowedNamespaces={"selector": {}})
    made = plan(shared, seen(warm("a")))
    assert (made.create, [gone.name for gone in made.delete]) == (0, ["a"])
    assert (says(made, "Stalled"), says(made, "Accepted")) == (
        ("True", "NamespaceNotAllowed"),
        ("False", "NamespaceNotAllowed"),
    )
    listed = INSTALL.model_copy(update={"shared_pool_namespaces": ["n"]})
    assert decide(shared, seen(warm("a")), listed, NOW).create == 1
