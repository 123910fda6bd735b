"""What a change of any watched object brings into the queues."""

import asyncio
from typing import Any

import pytest

from agentsession.keys.seals import Seals
from agentsession.kube.caches import Caches
from agentsession.kube.objects import Key
from agentsession.kube.resource import (
    AGENTPOOLS,
    AGENTSESSIONS,
    AGENTTENANTS,
    NAMESPACES,
    NETWORKPOLICIES,
    PODS,
    SERVICEACCOUNTS,
    Resource,
)
from agentsession.kube.workqueue import WorkQueue
from agentsession.queues import Queues
from agentsession.resources.names import POOL_LABEL, SESSION_LABEL, SESSION_NAMESPACE_LABEL, TENANT_LABEL
from agentsession.runners.podview import Views

pytestmark = pytest.mark.unit


def body(name: str, namespace: str = "n", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}-uid", "resourceVersion": "1"}
    return {"metadata": metadata, **fields}


def session(name: str, ready: str = "", tenant: str = "default", finished: str = "") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "False", "reason": ready}]
    if finished:
        conditions.append({"type": "Finished", "status": finished, "reason": "Completed"})
    return body(name, spec={"tenantRef": {"name": tenant}}, status={"conditions": conditions})


def pod(owner: str, tenant: str = "default") -> dict[str, Any]:
    made = body(f"{owner}-pod")
    made["metadata"]["ownerReferences"] = [{"kind": "AgentSession", "name": owner, "uid": "u", "controller": True}]
    made["metadata"]["labels"] = {TENANT_LABEL: tenant}
    return made


def unverified() -> Views:
    """Pods as who has no keys sees them."""
    return Views(Seals(lambda: {"keys": []}))


class Scene:
    def __init__(self) -> None:
        self.caches = Caches()
        self.queues = Queues(self.caches)
        self.queues.open(unverified())

    def has(self, *sessions: dict[str, Any]) -> None:
        for item in sessions:
            self.caches.sessions.observe("ADDED", item)

    async def changed(self, resource: Resource, key: Key, obj: dict[str, Any] | None) -> tuple[list[str], list[str]]:
        self.queues.changed()[resource](key, obj)
        return await names(self.queues.sessions), await names(self.queues.tenants)


async def names(queue: WorkQueue) -> list[str]:
    found = []
    while len(queue):
        key = await asyncio.wait_for(queue.get(), 1)
        queue.done(key)
        found.append(key[1])
    return sorted(found)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("gone", [False, True])
async def test_a_session_brings_itself(scene: Scene, *, gone: bool) -> None:
    assert await scene.changed(AGENTSESSIONS, ("n", "s"), None if gone else session("s")) == (["s"], [])


@pytest.mark.parametrize("gone", [False, True])
async def test_a_tenant_brings_itself(scene: Scene, *, gone: bool) -> None:
    assert await scene.changed(AGENTTENANTS, ("n", "default"), None if gone else body("default")) == ([], ["default"])


async def test_the_end_of_an_egress_process_brings_whoever_may_have_been_served(scene: Scene) -> None:
    scene.has(session("s"), session("over", finished="True"))
    scene.queues.egress_gone()
    assert await names(scene.queues.sessions) == ["s"]


async def test_a_pod_brings_its_session(scene: Scene) -> None:
    made = pod("s")
    scene.caches.pods.observe("ADDED", made)
    assert await scene.changed(PODS, ("n", "s-pod"), made) == (["s"], [])


@pytest.mark.parametrize(
    ("status", "brings"),
    [({"phase": "Pending", "qosClass": "Burstable"}, []), ({"phase": "Running"}, ["s"]), ({"phase": "Strange"}, ["s"])],
)
async def test_a_pod_brings_its_session_when_it_looks_different(
    scene: Scene, status: dict[str, str], brings: list[str]
) -> None:
    for version, state in enumerate(({"phase": "Pending"}, status), 1):
        made = pod("s") | {"status": state}
        made["metadata"]["resourceVersion"] = str(version)
        scene.caches.pods.observe("MODIFIED", made)
        brought, _ = await scene.changed(PODS, ("n", "s-pod"), made)
    assert brought == brings


async def test_a_pod_that_is_gone_brings_the_next_that_waits(scene: Scene) -> None:
    scene.has(session("b", "TenantAtCapacity"), session("a", "TenantAtCapacity"), session("c"))
    scene.has(session("0", "TenantAtCapacity", tenant="other"))
    scene.caches.tenants.observe("ADDED", body("default", spec={"sessions": {"maxConcurrent": 1}}))
    assert await scene.changed(PODS, ("n", "s-pod"), pod("s")) == (["a", "s"], [])


@pytest.mark.parametrize("told", [None, session("gone")])
async def test_a_session_that_is_gone_brings_the_next_that_waits(scene: Scene, told: dict[str, Any] | None) -> None:
    """It came first, and its pod may have gone before it."""
    scene.has(session("a", "TenantAtCapacity"), session("b", "TenantAtCapacity"), session("c", "PoolExhausted"))
    scene.caches.tenants.observe("ADDED", body("default", spec={"sessions": {"maxConcurrent": 1}}))
    waits = session("p1", "PoolExhausted")
    waits["spec"]["poolRef"] = {"name": "p"}
    scene.has(waits)
    scene.caches.pools.observe("ADDED", body("p"))
    runner = body("p-0", status={"conditions": [{"type": "Ready", "status": "True"}]})
    runner["metadata"]["labels"] = {POOL_LABEL: "n-p-uid"}
    scene.caches.pods.observe("ADDED", runner)
    assert await scene.changed(AGENTSESSIONS, ("n", "gone"), told) == (["a", "gone", "p1"], [])


def waits(name: str, ticket: int, reason: str = "PoolExhausted") -> dict[str, Any]:
    """For a runner of pool p, or not any more."""
    made = session(name, reason)
    made["spec"]["poolRef"] = {"name": "p"}
    return made | {"status": {**made["status"], "ticket": ticket}}


@pytest.mark.parametrize(("now", "brings"), [("PoolExhausted", []), ("TenantAtCapacity", ["next"]), ("Connected", [])])
async def test_who_begins_to_wait_for_a_pool_or_gives_up_brings_it_and_the_next_if_a_runner_is_left(
    scene: Scene, now: str, brings: list[str]
) -> None:
    scene.has(waits("s", 1, now), waits("next", 2), waits("last", 3))
    scene.caches.pools.observe("ADDED", body("p"))
    for name, label in {"ready": {}, "claimed": {SESSION_LABEL: "n-s-uid"}}.items():
        runner = body(name, status={"conditions": [{"type": "Ready", "status": "True"}]})
        runner["metadata"]["labels"] = {POOL_LABEL: "n-p-uid", **label}
        if name == "ready" or now == "Connected":
            scene.caches.pods.observe("ADDED", runner)
    scene.queues.line_changed(waits("s", 1, now))
    assert await asyncio.wait_for(scene.queues.pools.get(), 1) == ("n", "p")
    assert await names(scene.queues.sessions) == brings


async def test_a_pool_that_is_deleted_brings_itself_and_those_that_name_it(scene: Scene) -> None:
    """Also one of which nothing was heard since this leader began."""
    scene.has(waits("s", 1))
    assert await scene.changed(AGENTPOOLS, ("n", "p"), body("p")) == (["s"], [])
    assert await asyncio.wait_for(scene.queues.pools.get(), 1) == ("n", "p")


async def test_a_runner_that_a_session_of_elsewhere_has_taken_is_looked_after(scene: Scene) -> None:
    """The session may be gone by then, and no watch tells of the pod again."""
    runner = body("p-0")
    runner["metadata"]["labels"] = {SESSION_LABEL: "gone", SESSION_NAMESPACE_LABEL: "home", POOL_LABEL: "n-p-uid"}
    scene.queues.runner_taken(runner)
    assert await names(scene.queues.claimed) == ["p-0"]


async def test_who_waits_for_a_pool_and_is_changed_by_others_brings_it(scene: Scene) -> None:
    """As by a leader whose last words come late."""
    assert await scene.changed(AGENTSESSIONS, ("n", "s"), waits("s", 1)) == (["s"], [])
    assert await asyncio.wait_for(scene.queues.pools.get(), 1) == ("n", "p")


async def test_a_pod_that_only_a_resync_missed_brings_all_that_have_not_finished(scene: Scene) -> None:
    scene.has(session("a"), session("b", finished="True"), session("c", finished="False"))
    assert await scene.changed(PODS, ("n", "x"), None) == (["a", "c"], [])


async def test_a_strangers_pod_brings_nobody(scene: Scene) -> None:
    made = body("x")
    scene.caches.pods.observe("ADDED", made)
    assert await scene.changed(PODS, ("n", "x"), made) == ([], [])


async def test_an_account_brings_the_tenants(scene: Scene) -> None:
    scene.has(session("a"))
    scene.caches.tenants.observe("ADDED", body("default"))
    assert await scene.changed(SERVICEACCOUNTS, ("n", "x"), None) == ([], ["default"])


async def test_a_pod_that_got_a_label_brings_its_session(scene: Scene) -> None:
    """A NetworkPolicy may select it now."""
    for version, brings in (("1", ["s"]), ("2", []), ("3", ["s"])):
        made = pod("s", tenant="other" if version == "3" else "default")
        made["metadata"]["resourceVersion"] = version
        scene.caches.pods.observe("MODIFIED", made)
        assert (await scene.changed(PODS, ("n", "s-pod"), made))[0] == brings


@pytest.mark.parametrize(("finished", "brings"), [("True", [[], ["s"]]), ("", [["s"], ["s"]])])
async def test_a_pod_that_is_going_brings_a_finished_session_once_it_is_gone(
    scene: Scene, finished: str, brings: list[list[str]]
) -> None:
    scene.has(session("s", finished=finished))
    going = pod("s")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for event, brought in zip(("MODIFIED", "DELETED"), brings, strict=True):
        scene.caches.pods.observe(event, going)
        assert (await scene.changed(PODS, ("n", "s-pod"), going))[0] == brought


@pytest.mark.parametrize(("resource", "key"), [(NETWORKPOLICIES, ("n", "p")), (NAMESPACES, ("", "n"))])
async def test_policy_and_namespace_bring_tenants_and_sessions(scene: Scene, resource: Resource, key: Key) -> None:
    scene.has(session("a"), session("b", finished="True"))
    scene.caches.tenants.observe("ADDED", body("default"))
    scene.caches.tenants.observe("ADDED", body("default", "elsewhere"))
    assert await scene.changed(resource, key, None) == (["a"], ["default"])


async def test_a_tenant_brings_those_of_its_sessions_that_have_not_finished(scene: Scene) -> None:
    scene.has(session("a"), session("b", finished="True"), session("c", tenant="other"))
    scene.queues.tenant_changed(("n", "default"))
    assert await names(scene.queues.sessions) == ["a"]


@pytest.mark.parametrize(
    ("mode", "ready", "brings"), [("Auto", "", ["p"]), ("Auto", "PoolExhausted", []), ("Fixed", "", [])]
)
async def test_who_comes_brings_a_pool_that_sizes_itself(
    scene: Scene, mode: str, ready: str, brings: list[str]
) -> None:
    scene.caches.pools.observe("ADDED", body("p", spec={"scaling": {"mode": mode}}))
    comes = session("s", ready)
    comes["spec"]["poolRef"] = {"name": "p"}
    if not ready:
        del comes["status"]
    await scene.changed(AGENTSESSIONS, ("n", "s"), comes)
    assert await names(scene.queues.pools) == brings


@pytest.mark.parametrize(("ready", "brings"), [(0, []), (1, ["a"]), (5, ["a", "b"])])
async def test_ready_runners_bring_as_many_of_the_oldest_that_wait(scene: Scene, ready: int, brings: list[str]) -> None:
    for name in ("b", "a"):
        waits = session(name, "PoolExhausted")
        waits["spec"]["poolRef"] = {"name": "p"}
        scene.has(waits, session(f"not-{name}", "PoolExhausted"))
    scene.caches.pools.observe("ADDED", body("p"))
    for number in range(5):
        runner = body(f"p-{number}", status={"conditions": [{"type": "Ready", "status": str(number < ready)}]})
        runner["metadata"]["labels"] = {POOL_LABEL: "n-p-uid"}
        scene.caches.pods.observe("ADDED", runner)
    scene.queues.runner_changed("n-p-uid")
    assert await names(scene.queues.sessions) == brings
    assert await names(scene.queues.pools) == []  # more may change in the same moment
    async with asyncio.timeout(10):
        assert await scene.queues.pools.get() == ("n", "p")


async def test_who_has_a_runner_and_does_not_say_so_yet_takes_nobodys_turn(scene: Scene) -> None:
    for name in ("a", "b"):
        waits = session(name, "PoolExhausted")
        waits["spec"]["poolRef"] = {"name": "p"}
        scene.has(waits)
    scene.caches.pools.observe("ADDED", body("p"))
    for number, labels in enumerate(({SESSION_LABEL: "n-a-uid"}, {})):
        runner = body(f"p-{number}", status={"conditions": [{"type": "Ready", "status": "True"}]})
        runner["metadata"]["labels"] = {POOL_LABEL: "n-p-uid", **labels}
        scene.caches.pods.observe("ADDED", runner)
    scene.queues.runner_changed("n-p-uid")
    assert await names(scene.queues.sessions) == ["b"]


async def test_who_stands_by_keeps_no_names_and_begins_with_all_that_is_there(scene: Scene) -> None:
    queues = Queues(scene.caches)
    queues.changed()[AGENTSESSIONS](("n", "gone"), session("gone"))
    assert await names(queues.sessions) == []
    scene.has(session("a"), session("b", finished="True"))
    scene.caches.tenants.observe("ADDED", body("default"))
    queues.open(unverified())
    assert (await names(queues.sessions), await names(queues.tenants)) == (["a", "b"], ["default"])


def guest(home: str = "n", of: str = "s") -> dict[str, Any]:
    """A shared pool's runner that serves a session of another namespace."""
    made = body("p-0", "pools")
    labels = {POOL_LABEL: "pools-p-uid", SESSION_LABEL: f"{home}-{of}-uid", SESSION_NAMESPACE_LABEL: home}
    made["metadata"]["labels"] = {**labels, TENANT_LABEL: "default"}
    return made


async def test_a_runner_elsewhere_brings_its_session_and_itself(scene: Scene) -> None:
    scene.has(session("s"), session("other"))
    scene.caches.pods.observe("ADDED", guest())
    assert (await scene.changed(PODS, ("pools", "p-0"), guest()))[0] == ["s"]
    assert await names(scene.queues.claimed) == ["p-0"]


@pytest.mark.parametrize("told", [None, session("s")])
async def test_a_session_that_is_gone_brings_its_runner_elsewhere(scene: Scene, told: dict[str, Any] | None) -> None:
    scene.caches.pods.observe("ADDED", guest())
    scene.caches.pods.observe("ADDED", body("x", "pools"))
    await scene.changed(AGENTSESSIONS, ("n", "s"), told)
    assert await names(scene.queues.claimed) == ["p-0"]


async def test_a_runner_that_lost_its_owner_brings_its_session_and_itself(scene: Scene) -> None:
    scene.has(session("s"), session("other"))
    orphan = body("s-0")
    orphan["metadata"]["labels"] = {SESSION_LABEL: session("s")["metadata"]["uid"]}
    scene.caches.pods.observe("ADDED", orphan)
    assert (await scene.changed(PODS, ("n", "s-0"), orphan))[0] == ["s"]
    assert await names(scene.queues.claimed) == ["s-0"]


async def test_a_runner_elsewhere_that_is_gone_frees_a_slot_here(scene: Scene) -> None:
    scene.has(session("a", "TenantAtCapacity"))
    scene.caches.tenants.observe("ADDED", body("default", spec={"sessions": {"maxConcurrent": 1}}))
    assert (await scene.changed(PODS, ("pools", "p-0"), guest()))[0] == ["a"]


async def test_the_namespace_of_a_shared_pool_brings_whom_it_serves_or_may(scene: Scene) -> None:
    names_it = session("names-it")
    names_it["spec"]["poolRef"] = {"name": "p", "namespace": "pools"}
    scene.has(session("s"), session("other"), names_it)
    scene.caches.pools.observe("ADDED", body("p", "pools"))
    scene.caches.pods.observe("ADDED", guest())
    assert (await scene.changed(NETWORKPOLICIES, ("pools", "x"), None))[0] == ["names-it", "s"]
    assert await names(scene.queues.claimed) == ["p-0"]


async def test_who_begins_to_lead_looks_at_the_runners_elsewhere(scene: Scene) -> None:
    scene.caches.pods.observe("ADDED", guest())
    queues = Queues(scene.caches)
    queues.open(unverified())
    assert await names(queues.claimed) == ["p-0"]
