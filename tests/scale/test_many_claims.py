"""More sessions at once than pools have runners, and a leader killed in the middle of them."""

import signal
from pathlib import Path

import pytest

from agentsession.kube.resource import PODS
from agentsession.leader import SESSION_WORKERS

from .burst import WAITS, check, empty, fill, filled, out_of_turn
from .world import OURS, world

pytestmark = pytest.mark.kwok

SESSIONS = 160
RUNNERS = 10
"""Of each namespace's pool."""


async def test_a_leader_killed_in_a_burst_of_claims_loses_none_and_doubles_none(tmp_path: Path) -> None:
    async with world(tmp_path, SESSIONS) as made:
        for _ in range(2):
            await made.operators.start()
        await fill(made, RUNNERS)
        leader = await made.operators.leader()

        keys = await made.create(SESSIONS, "burst", **WAITS)
        await made.until(lambda: made.left("Ready", keys) <= SESSIONS // 2)
        made.operators.send(leader, signal.SIGKILL)
        await made.until(lambda: not made.left("Ready", keys))
        check(made, keys)
        assert out_of_turn(made, keys) < SESSION_WORKERS  # who is served at the same time
        await filled(made, RUNNERS)

        made.runners.free.set()
        await made.until(lambda: not made.left("Finished", keys))
        assert all(made.reads(key, "Completed") for key in keys)
        await empty(made)
        await made.delete(keys)
        assert (await made.api.list(PODS, label_selector=OURS)).items == []
