"""A shared pool's runner on a real node, attacked from inside before a session of another namespace has claimed it, and
after. What it looks for is the same as in test_contained.py, and is found by who is not held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from agentsession.kube.errors import AlreadyExistsError, NotFoundError
from agentsession.kube.objects import annotations_of, is_terminating, labels_of
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, NAMESPACES, PODS
from agentsession.resources.names import GRANT_ANNOTATION, SESSION_LABEL
from devcluster.demo import scene

from .attacker import MESSAGES, Place, Report, Targets, ask, impostors_admitted, neighbourhood, probe
from .targets import Map, operator, survey
from .test_contained import CAPABILITIES, IN_MEMORY, VOLUMES, reaches_all
from .test_identity import SERVED, until_answered
from .world import POOLS, SECONDS, Team, World

pytestmark = pytest.mark.node

POOL = "shared"


@pytest.fixture
async def pool(world: World) -> AsyncIterator[None]:
    """A pool of one runner in the listed namespace, for every namespace with teams."""
    labels = {**scene.ALLOWED, "pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": POOLS, "labels": labels}
    with suppress(AlreadyExistsError):
        await world.api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    body = {
        "apiVersion": "agentsession.io/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": POOL, "namespace": POOLS},
        "spec": {
            "template": {"agent": {"model": scene.MODEL, "allowedTools": ["Bash"]}},
            "allowedNamespaces": {"selector": {"matchLabels": scene.ALLOWED}},
        },
    }
    await world.api.create(AGENTPOOLS, body)
    yield
    await world.api.delete(AGENTPOOLS, (POOLS, POOL))


async def waiting(world: World) -> Place:
    """The pool's runner that is ready."""
    async with asyncio.timeout(SECONDS):
        while True:
            for pod in (await world.api.list(PODS, namespace=POOLS)).items:
                conditions = pod["status"].get("conditions", [])
                ready = any((item["type"], item["status"]) == ("Ready", "True") for item in conditions)
                if ready and SESSION_LABEL not in labels_of(pod) and not is_terminating(pod):
                    return Place(world, POOLS, pod["metadata"]["name"])
            await asyncio.sleep(0.1)


def assert_held(found: Report, map_: Map) -> None:
    """It reaches the egress plane, and is nobody."""
    assert found.connected == map_.egress
    assert (found.resolved, found.answered) == ([], [])
    assert set(found.writable) == VOLUMES | IN_MEMORY
    assert {name: int(found.process[name], 16) for name in CAPABILITIES} == dict.fromkeys(CAPABILITIES, 0)
    assert (found.process["NoNewPrivs"], found.process["Seccomp"]) == ("1", "2")
    assert found.tokens == {"/tmp/identity/token": "agentsession/identity"}  # noqa: S108


async def until_gone(place: Place) -> None:
    async with asyncio.timeout(SECONDS):
        with suppress(NotFoundError):
            while True:
                await place.world.api.get(PODS, (place.namespace, place.pod))
                await asyncio.sleep(0.1)


@pytest.mark.usefixtures("pool")
async def test_a_shared_pools_runner_is_held_before_its_claim_and_after(world: World) -> None:
    ours: Team = await world.team(sharedPools={"namespaces": [POOLS]})
    here, (bystander, neighbour) = await asyncio.gather(waiting(world), neighbourhood(world))
    map_ = await survey(world, neighbour)
    everything = Targets(
        names=[*map_.open.names, "example.com"],
        tcp=[*map_.open.tcp, *map_.guarded.tcp, *map_.egress],
        dns=map_.open.dns,
    )
    control = await reaches_all(bystander, map_.open)
    assert control.connected == map_.open.tcp
    await reaches_all(await operator(world), map_.guarded)

    assert_held(await probe(here, everything), map_)
    for path in (MESSAGES, f"{MESSAGES}/count_tokens"):
        refused = await ask(here, path=path)
        assert (refused.status, "serves no session" in refused.why) == (403, True)

    ref = {"name": POOL, "namespace": POOLS}
    session = await ours.start("s", "[[say: here]]", agent=None, poolRef=ref, lifecycle="LongRunning")
    now = await ours.idle("s")
    assert (now.status.start_type, now.status.pod_namespace, now.status.pod_name) == ("Warm", POOLS, here.pod)
    assert_held(await probe(here, everything), map_)
    before = len(await world.model.requests(ours.key))
    assert await ask(here) == SERVED
    assert len(await world.model.requests(ours.key)) == before + 1

    beside = await waiting(world)
    beside_it = Targets(tcp=[f"{await beside.address()}:8700"])
    await reaches_all(await operator(world), beside_it)
    assert (await probe(here, beside_it)).connected == []
    copied = annotations_of(await world.api.get(PODS, (POOLS, here.pod)))[GRANT_ANNOTATION]
    async with impostors_admitted(world):
        await world.api.merge_patch(
            PODS, (POOLS, beside.pod), {"metadata": {"annotations": {GRANT_ANNOTATION: copied}}}
        )
        await until_answered(beside, 403, "another pod")
        assert await ask(here) == SERVED
    await world.api.delete(PODS, (POOLS, beside.pod))

    await world.api.delete(AGENTSESSIONS, session.key)
    await until_gone(here)
