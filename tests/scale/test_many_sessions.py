"""Five hundred sessions at once, and a leader killed in the middle of them."""

import asyncio
import signal
from pathlib import Path

import pytest

from agentsession.kube.resource import AGENTSESSIONS, LEASES, PODS
from agentsession.memory import PERIOD
from devcluster.install import NAMESPACE

from .operators import Operator
from .world import OURS, World, world

pytestmark = pytest.mark.kwok

SESSIONS = 500
FEW = 20
KEPT = 1.5
"""How much more memory a replica may hold, a while after all sessions are gone, than when there were a few: pages in
which something else lives."""


async def test_a_leader_killed_among_500_sessions_loses_none_and_doubles_none(tmp_path: Path) -> None:
    async with world(tmp_path, SESSIONS) as made:
        replicas = [await made.operators.start() for _ in range(2)]
        await _through(made, FEW, "few")
        before = {replica.url: await _memory(made, replica) for replica in replicas}
        leader = await made.operators.leader()
        made.runners.free.clear()

        keys = await made.create(SESSIONS, "many")
        await made.until(lambda: made.left("Ready", keys) <= SESSIONS // 2)
        made.operators.send(leader, signal.SIGKILL)
        await made.until(lambda: not made.left("Ready", keys))

        assert made.served_once(keys)
        serving = {uid: pod for pod, uid in made.pods.items()}
        runners = [serving[made.sessions[key]["metadata"]["uid"]] for key in keys]

        made.runners.free.set()
        await made.until(lambda: not made.left("Finished", keys))
        assert all(made.reads(key, "Completed") for key in keys)
        assert [made.runners.agents[runner].asked for runner in runners] == [["hello"]] * SESSIONS
        await made.delete(keys)

        assert (await made.api.list(PODS, label_selector=OURS)).items == []
        assert (await made.api.list(AGENTSESSIONS)).items == []
        assert len((await made.api.list(LEASES, namespace=NAMESPACE)).items) == 1
        last = await made.operators.leader()
        assert await made.operators.metric(last, "agentsession_queue_depth") == 0
        async with asyncio.timeout(3 * PERIOD):
            while await _memory(made, last) > KEPT * before[last.url]:
                await asyncio.sleep(1)


async def _through(made: World, count: int, prefix: str) -> None:
    """Some sessions, from beginning to end."""
    made.runners.free.set()
    keys = await made.create(count, prefix)
    await made.until(lambda: not made.left("Finished", keys))
    await made.delete(keys)


async def _memory(made: World, replica: Operator) -> float:
    return await made.operators.metric(replica, "process_resident_memory_bytes")
