"""kill -9 in the middle of a turn: an end that status explains, usage that is exact or marked, and others that work.

The operator's and the egress plane's own deaths are in test_restarts.py.
"""

import asyncio
import signal
from contextlib import suppress

import aiohttp
import pytest

from agentsession.api.session import AgentSession
from devcluster import cluster, processes, settings

from . import operators
from .test_restarts import assert_exact
from .world import SECONDS, Team, reason

pytestmark = pytest.mark.node

TURN = "[[stream: events=40 interval=0.1]]"


async def _kill_in_pod(team: Team, session: AgentSession, process: str) -> None:
    pod = await team.pod(session)
    assert pod is not None
    operators.send(pod, signal.SIGKILL, process)


async def _a_new_session_works(team: Team) -> None:
    await team.start("next", "[[say: works]]")
    done = await team.finished("next")
    assert reason(done) == "Completed"
    await team.no_pod(done)


async def _exact_or_marked(team: Team, name: str) -> None:
    """A request that was cut off is counted soon after the end."""

    def counted(now: AgentSession) -> bool:
        return now.status.usage is not None and (now.status.usage.estimated or now.status.usage.output_tokens > 0)

    done = await team.until(name, counted)
    assert done.status.usage is not None
    if not done.status.usage.estimated:
        assert_exact(done, await team.world.model.requests(team.key))


IN_THE_POD: dict[str, tuple[str, str]] = {"CLI": ("claude", "AgentFailed"), "runner": ("serve", "RunnerExited")}


@pytest.mark.parametrize("victim", IN_THE_POD)
async def test_a_process_of_the_runner(team: Team, victim: str) -> None:
    process, why = IN_THE_POD[victim]
    session = await team.start("s", TURN)
    await team.model_sent(1)
    await _kill_in_pod(team, session, process)
    done = await team.finished("s")
    assert (reason(done, "Finished"), reason(done, "Stalled")) == (why, why)
    assert [turn.state for turn in done.status.turns] == ["Failed"]
    await team.no_pod(done)
    await _exact_or_marked(team, "s")
    await _a_new_session_works(team)


async def test_the_kubelet(team: Team) -> None:
    """Nobody notices at first: runner, operator and egress plane need it for nothing but what begins and ends."""
    await team.start("s", TURN)
    await team.model_sent(1)
    state = settings.state_dir()
    processes.kill(state, "kubelet".__eq__)
    try:
        done = await team.finished("s")
        assert reason(done) == "Completed"
        assert_exact(done, await team.world.model.requests(team.key))
        await team.start("meanwhile", "[[say: it is back]]")
    finally:
        cluster.up(state)
    await team.no_pod(done)
    assert reason(await team.finished("meanwhile")) == "Completed"


async def test_containerd(team: Team) -> None:
    """With it go all containers of the node: the runner's, and those of operator, egress plane and model."""
    await team.start("s", TURN)
    await team.model_sent(1)
    state = settings.state_dir()
    processes.kill(state, {"containerd", "containerd-shim"}.__contains__)
    cluster.up(state)
    done = await team.finished("s")
    assert (reason(done, "Finished"), reason(done, "Stalled")) == ("RunnerEvicted", "RunnerEvicted")
    assert done.status.usage is not None
    assert done.status.usage.estimated
    await team.no_pod(done)
    for component in ("operator", "egress"):
        await operators.all_ready(team.world, component)
    await _model_answers(team)
    await _a_new_session_works(team)


async def _model_answers(team: Team) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                await team.world.model.requests()
                return
            await asyncio.sleep(0.2)
