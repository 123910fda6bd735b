"""More sessions at once than pools have runners, and a leader killed in the middle of them."""

import asyncio
import signal
from pathlib import Path

import pytest

from agentsession.api.base import API_VERSION
from agentsession.kube.resource import AGENTPOOLS, PODS

from .world import MODEL, NAMESPACES, OURS, World, world

pytestmark = pytest.mark.kwok

SESSIONS = 160
RUNNERS = 10
"""Of each namespace's pool."""
POOL = {"replicas": RUNNERS, "template": {"agent": {"model": MODEL}}}
SECONDS = 60


async def _filled(made: World) -> None:
    async with asyncio.timeout(SECONDS):
        while any(
            pool.get("status", {}).get("readyReplicas", 0) < RUNNERS for pool in (await made.api.list(AGENTPOOLS)).items
        ):
            await asyncio.sleep(0.1)


async def test_a_leader_killed_in_a_burst_of_claims_loses_none_and_doubles_none(tmp_path: Path) -> None:
    async with world(tmp_path, SESSIONS) as made:
        for _ in range(2):
            await made.operators.start()
        for namespace in NAMESPACES:
            metadata = {"namespace": namespace, "name": "pool"}
            body = {"apiVersion": API_VERSION, "kind": AGENTPOOLS.kind, "metadata": metadata, "spec": POOL}
            await made.api.create(AGENTPOOLS, body)
        await _filled(made)
        leader = await made.operators.leader()

        keys = await made.create(SESSIONS, "burst", poolRef={"name": "pool", "onExhausted": "Wait"})
        await made.until(lambda: made.left("Ready", keys) <= SESSIONS // 2)
        made.operators.send(leader, signal.SIGKILL)
        await made.until(lambda: not made.left("Ready", keys))

        uids = {made.sessions[key]["metadata"]["uid"] for key in keys}
        serving = {uid: pod for pod, uid in made.pods.items() if uid in uids}
        assert {uid: made.granted[uid] for uid in uids} == {uid: {serving[uid]} for uid in uids}
        assert {made.sessions[key]["status"]["startType"] for key in keys} == {"Warm"}
        asked = {pod: agent.asked for pod, agent in made.runners.agents.items() if agent.asked}
        assert asked == {pod: ["hello"] for pod in serving.values()}
        await _filled(made)

        made.runners.free.set()
        await made.until(lambda: not made.left("Finished", keys))
        assert all(made.reads(key, "Completed") for key in keys)
        for namespace in NAMESPACES:
            await made.api.delete(AGENTPOOLS, (namespace, "pool"))
        await made.delete(keys)
        assert (await made.api.list(PODS, label_selector=OURS)).items == []
