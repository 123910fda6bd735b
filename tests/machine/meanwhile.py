"""Time: what goes on at each step, and moves in which nothing else does."""

import asyncio
from datetime import timedelta

from agentsession.api.base import is_true
from agentsession.api.conditions import FINISHED
from agentsession.kube.objects import uid_of

from .people import NAMES, create, dismiss
from .running import agents_answer, kubelets_work
from .world import World

FEWEST = 3
"""Unfinished sessions that there always are."""
MOMENT = 0.1
"""Seconds that each step takes, without anybody waiting for them."""
LONG = 10
"""Seconds; longer times pass at once."""
TROUBLE_STEPS = 20


async def meanwhile(world: World, step: int) -> None:
    """What goes on at each step, whatever was chosen: a moment passes, kubelets and agents get on, troubles end."""
    await world.ensure_leader()
    world.server.objects.collect_garbage()
    if step % 3 == 0:
        await kubelets_work(world, 3)
    if step % 3 == 1:
        await agents_answer(world, 2, "")
    await _keep_busy(world)
    if step % TROUBLE_STEPS == 0:
        world.rules.clear()
        await world.nodes.reap({uid_of(pod) for pod in world.history.pods})
        for replica in list(world.replicas):
            replica.way.flow()
            if replica.frozen and not replica.election.is_leader:
                await world.kill(replica)
    await asyncio.sleep(MOMENT)


async def _keep_busy(world: World) -> None:
    """Whatever hypothesis leaves out in this example, there are some sessions to play with, and names for new ones."""
    finished = [each for each in world.sessions() if is_true(each.status.conditions, FINISHED)]
    if len(world.history.sessions) - len(finished) < FEWEST:
        lifecycle = "LongRunning" if next(world.numbers) % 2 else "Ephemeral"
        pool = next((pool.metadata.name for pool in world.history.pools.all if pool.spec.tenant), "")
        await create(world, 2, lifecycle=lifecycle, pool=pool)
    if len(world.history.sessions) > NAMES - 8:
        for session in finished[:8]:
            await dismiss(world, session)


async def time_passes(world: World, seconds: float) -> None:
    """Everything that was waited for until then is due."""
    if seconds > LONG:
        world.loop.leap(seconds)
    else:
        await asyncio.sleep(seconds)
    await world.quiet()


async def clock_steps(world: World, minutes: int) -> None:
    """The operators' clock is put forward or back."""
    world.clock.step(timedelta(minutes=minutes))


async def settle(world: World) -> None:
    """What can be done without time passing is done."""
    await world.quiet()
