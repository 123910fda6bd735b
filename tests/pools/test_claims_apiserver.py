"""Pools and claims against a real API server, with the runner's own server at the other end."""

import asyncio
from collections.abc import Callable

import pytest

from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession
from agentsession.kube.objects import KubeObject, annotations_of, controller_of, key_of, labels_of, uid_of
from agentsession.kube.resource import AGENTPOOLS, AGENTTENANTS, EVENTS, PODS
from agentsession.resources.names import GRANT_ANNOTATION, MEMBERSHIP_ANNOTATION, SESSION_LABEL
from agentsession_runner.session import Session
from tests.sessions.inprocess import SECONDS, Place, World
from tests.sessions.standins import Agent, DeafSession

pytestmark = pytest.mark.apiserver


class Nodes:
    """Starts the pods of a pool, each with an agent of its own."""

    def __init__(self, world: Place) -> None:
        self.world = world
        self.agents: dict[str, Agent] = {}

    async def start(self, count: int = 1, kind: type[Session] = Session) -> None:
        """Start that many more."""
        async with asyncio.timeout(SECONDS):
            while count:
                for pod in await self.world.pods():
                    name, sealed = pod["metadata"]["name"], MEMBERSHIP_ANNOTATION in annotations_of(pod)
                    if count and name not in self.agents and sealed:
                        self.agents[name] = Agent()
                        await self.world.start(pod, self.agents[name], kind)
                        count -= 1
                await asyncio.sleep(0.02)

    def asked(self) -> list[str]:
        return [text for agent in self.agents.values() for text in agent.asked]


async def until(world: Place, holds: Callable[[AgentPool], bool]) -> AgentPool:
    try:
        async with asyncio.timeout(SECONDS):
            while not holds(now := await world.pool_now()):
                await asyncio.sleep(0.02)
            return now
    except TimeoutError:
        raise AssertionError((await world.pool_now()).status) from None


async def claim(world: World, name: str = "s", **ref: object) -> AgentSession:
    return await world.session(name, agent=None, poolRef={"name": "p", **ref})


async def pod_of(world: World, session: AgentSession) -> KubeObject:
    (found,) = [pod for pod in await world.pods() if labels_of(pod).get(SESSION_LABEL) == session.metadata.uid]
    return found


@pytest.fixture
async def nodes(world: World) -> Nodes:
    """A tenant, and nodes that start nothing by themselves."""
    await world.tenant()
    return Nodes(world)


async def test_the_whole_way(world: World, nodes: Nodes) -> None:
    pool = await world.pool(2)
    await nodes.start(2)
    ready = await until(world, lambda now: now.status.ready_replicas == 2)
    assert (ready.status.replicas, ready.status.desired_replicas, ready.status.updated_replicas) == (2, 2, 2)

    session = await claim(world)
    now = await world.says(session, "Connected")
    pod = await pod_of(world, session)
    assert (now.status.start_type, now.status.pod_name) == ("Warm", pod["metadata"]["name"])
    assert (controller_of(pod) or {}).get("uid") == session.metadata.uid
    assert GRANT_ANNOTATION in annotations_of(pod)
    assert pod["spec"]["activeDeadlineSeconds"] in range(3600, 3700)
    assert nodes.asked() == ["hello"]

    refilled = await until(world, lambda now: now.status.claimed_replicas == 1 and now.status.replicas == 2)
    assert refilled.status.ready_replicas == 1
    nodes.agents[pod["metadata"]["name"]].free.set()
    done = await world.says(session, "Completed")
    assert done.status.result is not None
    assert done.status.result.text == "HELLO"
    told = await world.api.list(EVENTS, namespace=world.namespace)
    of_pool = {event["reason"] for event in told.items if event["regarding"]["uid"] == pool.metadata.uid}
    assert of_pool - {"Unschedulable"} == {"RunnersReady"}


async def test_who_comes_when_none_is_left_waits_its_turn(world: World, nodes: Nodes) -> None:
    await world.pool(2)
    await nodes.start(2)
    await until(world, lambda now: now.status.ready_replicas == 2)
    sessions = [await claim(world, f"s{number}", onExhausted="Wait") for number in range(4)]
    async with asyncio.timeout(SECONDS):
        while True:
            reasons = [(await world.now(item)).status.phase for item in sessions]
            if sorted(reasons) == ["Pending", "Pending", "Running", "Running"]:
                break
            await asyncio.sleep(0.02)
    await until(world, lambda now: any(c.type == "Exhausted" and c.status == "True" for c in now.status.conditions))
    await nodes.start(2)
    for item in sessions:
        await world.says(item, "Connected")
    served = [labels_of(pod).get(SESSION_LABEL) for pod in await world.pods()]
    assert sorted(uid for uid in served if uid) == sorted(item.metadata.uid for item in sessions)
    assert sorted(nodes.asked()) == ["hello"] * 4


async def test_who_waits_has_a_ticket_and_is_served_by_it(world: World, nodes: Nodes) -> None:
    await world.pool(1)
    sessions = [await claim(world, f"s{number}", onExhausted="Wait") for number in range(4)]
    for item in sessions:
        await world.says(item, "PoolExhausted")
    tickets = {(await world.now(item)).status.ticket: item for item in sessions}
    assert sorted(filter(None, tickets)) == [1, 2, 3, 4]
    for number in range(1, 5):
        await until(world, lambda now, number=number: now.status.now_serving == number)  # type: ignore[misc]
        await nodes.start(1)
        await world.says(tickets[number], "Connected")
    await until(world, lambda now: now.status.now_serving is None)


async def test_a_pool_that_sizes_itself_begins_with_who_waits_and_stays_within_its_bounds(
    world: World, nodes: Nodes
) -> None:
    await world.pool(50, scaling={"mode": "Auto", "min": 0, "max": 2})
    await until(world, lambda now: now.status.observed_generation > 0)
    assert await world.pods() == []
    sessions = [await claim(world, f"s{number}", onExhausted="Wait") for number in range(5)]
    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, sum(SESSION_LABEL not in labels_of(pod) for pod in await world.pods()))
            await asyncio.sleep(0.02)

    counting = asyncio.create_task(count())
    await nodes.start(5)
    for item in sessions:
        await world.says(item, "Connected")
    counting.cancel()
    assert most == 2


async def test_a_claimed_runner_that_dies_before_it_was_asked_is_replaced_by_another(
    world: World, nodes: Nodes
) -> None:
    await world.pool(1)
    await nodes.start(1, DeafSession)
    await until(world, lambda now: now.status.ready_replicas == 1)
    session = await claim(world, onExhausted="Wait")
    async with asyncio.timeout(SECONDS):
        while not (pods := [pod for pod in await world.pods() if SESSION_LABEL in labels_of(pod)]):
            await asyncio.sleep(0.02)
    await world.api.delete(PODS, key_of(pods[0]), uid=uid_of(pods[0]), grace_seconds=0)
    await nodes.start(1)
    await world.says(session, "Connected")
    assert uid_of(await pod_of(world, session)) != uid_of(pods[0])
    assert nodes.asked() == ["hello"]


async def test_what_asks_for_another_shape_starts_cold_and_is_told_why(world: World, nodes: Nodes) -> None:
    await world.pool(1)
    await nodes.start(1)
    await until(world, lambda now: now.status.ready_replicas == 1)
    session = await world.session(agent={"model": "m", "systemPrompt": "Be brief."}, poolRef={"name": "p"})
    told = await world.says(session, "ColdStart")
    ready = next(item for item in told.status.conditions if item.type == "Ready")
    assert "another template" in ready.message
    await world.run(session)
    assert (await world.says(session, "Connected")).status.start_type == "Cold"
    assert (await world.pool_now()).status.claimed_replicas == 0


async def test_a_change_of_the_template_replaces_what_waits(world: World, nodes: Nodes) -> None:
    await world.pool(1)
    await nodes.start(1)
    before = await until(world, lambda now: now.status.ready_replicas == 1)
    old = {uid_of(pod) for pod in await world.pods()}
    change = {"spec": {"template": {"agent": {"systemPrompt": "Be brief."}}}}
    await world.api.merge_patch(AGENTPOOLS, (world.namespace, "p"), change)
    await until(world, lambda now: now.status.revision not in ("", before.status.revision))
    for pod in await world.pods():
        if uid_of(pod) in old:
            await world.api.delete(PODS, key_of(pod), uid=uid_of(pod), grace_seconds=0)  # as its kubelet would
    await nodes.start(1)
    after = await until(world, lambda now: now.status.updated_replicas == now.status.ready_replicas == 1)
    assert after.status.revision != before.status.revision


async def test_fewer_are_wanted(world: World, nodes: Nodes) -> None:
    await world.pool(3)
    await nodes.start(3)
    await until(world, lambda now: now.status.ready_replicas == 3)
    await world.api.merge_patch(AGENTPOOLS, (world.namespace, "p"), {"spec": {"replicas": 1}})
    await until(world, lambda now: now.status.replicas == now.status.desired_replicas == 1)


async def test_a_tenant_that_is_deleted_ends_who_claimed_and_stops_the_refill(world: World, nodes: Nodes) -> None:
    await world.pool(1)
    await nodes.start(1)
    await until(world, lambda now: now.status.ready_replicas == 1)
    session = await claim(world)
    await world.says(session, "Connected")
    await world.api.delete(AGENTTENANTS, (world.namespace, "default"))
    await world.says(session, "TenantDeleted")
    await until(world, lambda now: any(item.reason == "TenantNotFound" for item in now.status.conditions))
