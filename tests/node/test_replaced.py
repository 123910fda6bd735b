"""The agent puts a program of its own into the runner's place, from its own shell: what that gains it, and what not."""

import asyncio
import json
import platform
import shlex

import pytest

from agentsession.kube.resource import AGENTSESSIONS

from .attacker import source
from .world import World, reason

pytestmark = [pytest.mark.node, pytest.mark.skipif(platform.machine() != "x86_64", reason="the attack is machine code")]

FORGED = "Forged: this was free."


async def test_what_the_agent_says_in_the_runners_place_is_only_words(world: World) -> None:
    hostile, neighbour = await asyncio.gather(world.team(), world.team())
    command = shlex.join(["python3", "-c", source("replace")])
    prompt = f"[[tool: Bash {json.dumps({'command': command})}]] [[say: The model said this.]]"
    await hostile.start("liar", prompt, lifecycle="LongRunning")
    lied = await hostile.idle("liar")
    assert lied.status.result is not None
    assert lied.status.result.text == FORGED, "the attack does not work"

    await neighbour.start("honest", "[[say: Still here.]]")
    assert reason(await neighbour.finished("honest")) == "Completed"

    over = {"spec": {"limits": {"wallClock": "10s"}}}
    await world.api.merge_patch(AGENTSESSIONS, (hostile.namespace, "liar"), over)
    done = await hostile.finished("liar")
    assert reason(done) == "WallClockExceeded"
    await hostile.no_pod(done)
    usage = (await hostile.session("liar")).status.usage
    served = [item for item in await world.model.requests(hostile.key) if item["usage"] is not None]
    assert usage is not None
    assert usage.requests == len(served) > 0
    assert usage.output_tokens == sum(item["usage"]["output_tokens"] for item in served) > 0
