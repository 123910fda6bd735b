"""Two leaders at once, each of a part of the namespaces, and one of them killed: the third takes its place."""

import signal
from pathlib import Path

import pytest

from agentsession.kube.resource import LEASES, PODS
from devcluster.install import NAMESPACE

from .world import OURS, world

pytestmark = pytest.mark.kwok

SESSIONS = 60
SHARDS = 2


async def test_a_shards_leader_is_killed_and_followed_and_nothing_is_doubled(tmp_path: Path) -> None:
    async with world(tmp_path, SESSIONS, SHARDS) as made:
        operators = made.operators
        for _ in range(SHARDS + 1):
            await operators.start()
        leaders = await operators.leaders(SHARDS)
        keys = await made.create(SESSIONS, "s")
        await made.until(lambda: made.left("Ready", keys) <= SESSIONS // 2)
        assert all([await operators.metric(leader, "agentsession_sessions") > 0 for leader in leaders])
        operators.send(leaders[0], signal.SIGKILL)
        await made.until(lambda: not made.left("Ready", keys))
        made.runners.free.set()
        await made.until(lambda: not made.left("Finished", keys))

        assert all(made.reads(key, "Completed") for key in keys)
        uids = {made.sessions[key]["metadata"]["uid"] for key in keys}
        assert all(len(made.granted[uid]) == 1 for uid in uids)
        asked = [agent.asked for agent in made.runners.agents.values()]
        assert asked == [["hello"]] * len(keys)
        leases = (await made.api.list(LEASES, namespace=NAMESPACE)).items
        assert {item["metadata"]["name"].removeprefix("agentsession-operator") for item in leases} == {
            "",
            "-1",
            "-shards",
        }
        await made.delete(keys)
        assert (await made.api.list(PODS, label_selector=OURS)).items == []
