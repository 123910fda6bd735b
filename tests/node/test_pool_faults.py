"""What the cluster does to a pool's runners, as a real node, scheduler and API server tell it."""

import asyncio

import pytest

from agentsession.api.base import condition

from .test_healing import said
from .test_pool import make_pool, pool, ready, runners
from .world import SECONDS, Team, reason

pytestmark = pytest.mark.node


async def test_a_drained_node_ends_who_was_served_and_the_pool_fills_again(team: Team) -> None:
    await make_pool(team, replicas=2)
    await ready(team, 2)
    await team.start("s", "[[stream: events=600 interval=0.1]]", agent=None, poolRef={"name": "warm"})
    await team.model_sent(1)
    there = set(await runners(team))
    for name in there:
        team.evict(name)
    done = await team.finished("s")
    assert (reason(done, "Finished"), done.status.start_type) == ("RunnerEvicted", "Warm")
    assert "EvictionByEvictionAPI" in said(done, "Finished").message
    async with asyncio.timeout(2 * SECONDS):
        while there & set(await runners(team)):
            await asyncio.sleep(0.1)
    await ready(team, 2)


async def test_a_volume_that_nobody_makes_is_said_of_the_pool_and_of_who_asks_for_a_runner(team: Team) -> None:
    await team.give_tenant(name="stateful", workspace={"size": "1Gi", "storageClassName": "nobody-has-this"})
    await team.tenant_says("Ready", "stateful")
    await make_pool(team, tenantRef={"name": "stateful"})
    async with asyncio.timeout(SECONDS):
        while (found := condition((await pool(team)).status.conditions, "Degraded")) is None or found.status != "True":
            await asyncio.sleep(0.1)
    assert found.reason == "Unschedulable"
    assert "PersistentVolumeClaims" in found.message
    await team.start("s", "[[say: never]]", agent=None, poolRef={"name": "warm"}, tenantRef={"name": "stateful"})
    waits = await team.until("s", lambda now: reason(now) == "VolumeNotReady")
    assert "StorageClass nobody-has-this" in said(waits).message
