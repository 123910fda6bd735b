"""Five hundred sessions at once, and a leader killed in the middle of them."""

import signal
from pathlib import Path

import pytest

from agentsession.kube.resource import AGENTSESSIONS, LEASES, PODS
from devcluster.install import NAMESPACE

from .operators import Operator
from .world import OURS, World, world

pytestmark = pytest.mark.kwok

SESSIONS = 500
FEW = 20
KEPT = 1.5
"""How much more memory a replica may hold when all sessions are gone than when there were a few: what CPython's and
glibc's allocators keep for later. With sessions in it, it is beyond that."""


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

        uids = [made.sessions[key]["metadata"]["uid"] for key in keys]
        assert {len(made.granted[uid]) for uid in uids} == {1}
        for uid in uids:
            (pod,) = made.granted[uid]
            assert made.pods[pod] == uid
            assert made.runners.agents[pod].asked == ["hello"]

        made.runners.free.set()
        await made.until(lambda: not made.left("Finished", keys))
        assert all(made.reads(key, "Completed") for key in keys)
        await made.delete(keys)

        successor = next(replica for replica in replicas if replica is not leader)
        assert await made.operators.leader() is successor
        assert (await made.api.list(PODS, label_selector=OURS)).items == []
        assert (await made.api.list(AGENTSESSIONS)).items == []
        assert len((await made.api.list(LEASES, namespace=NAMESPACE)).items) == 1
        assert await made.operators.metric(successor, "agentsession_queue_depth") == 0
        assert await _memory(made, successor) < KEPT * before[successor.url]


async def _through(made: World, count: int, prefix: str) -> None:
    """Some sessions, from beginning to end."""
    made.runners.free.set()
    keys = await made.create(count, prefix)
    await made.until(lambda: not made.left("Finished", keys))
    await made.delete(keys)


async def _memory(made: World, replica: Operator) -> float:
    return await made.operators.metric(replica, "process_resident_memory_bytes")
