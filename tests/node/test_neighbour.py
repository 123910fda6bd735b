"""A noisy neighbour: an agent that takes of its node all that it can get, and another tenant's session beside it."""

import asyncio
import json
import shlex

import pytest

from agentsession.api.base import condition

from .attacker import Place, runner_of, source
from .world import Team, World

pytestmark = pytest.mark.node

MIB = 1 << 20
LIMITS = {"requests": {"ephemeral-storage": "100Mi"}, "limits": {"ephemeral-storage": "400Mi"}}
WATCH = "import ctypes; raise SystemExit(ctypes.CDLL(None).inotify_init() < 0)"
FLOOD = "head -c 800000000 /dev/zero | tr '\\0' '\\n' > /proc/1/fd/1"


async def done_by_agent(team: Team, name: str, *command: str, **spec: object) -> tuple[Place, str]:
    """The runner of a conversation whose agent has run that with its Bash tool, and what that printed."""
    step = json.dumps({"command": shlex.join(command)})
    await team.start(name, f"[[tool: Bash {step}]] [[say: Done.]]", lifecycle="LongRunning", **spec)
    place = runner_of(team.world, await team.idle(name))
    (result,) = (await team.world.model.requests(team.key))[-1]["body"]["messages"][-1]["content"][:1]
    return place, str(result["content"])


async def test_a_neighbour_that_takes_all_it_can_get_stops_nobody(world: World) -> None:
    noisy, quiet = await asyncio.gather(world.team(), world.team())
    script = ("python3", "-c", source("neighbour"))
    place, said = await done_by_agent(noisy, "noisy", *script, runtime={"resources": LIMITS})
    taken = json.loads(said)
    assert taken["inotify"] >= 100
    assert taken["inodes"] >= 50_000
    assert taken["connections"] >= 10
    assert 500 <= taken["tasks"] <= 8192, "nothing bounds its processes"
    with pytest.raises(AssertionError):
        await place.shell("python3", "-c", WATCH)

    _, said = await done_by_agent(quiet, "quiet", "sh", "-c", f"python3 -c '{WATCH}' && echo watched")
    assert said == "watched"

    await asyncio.to_thread(world.execute, place.namespace, place.pod, "sh", "-c", FLOOD)
    ended = await noisy.finished("noisy")
    ready = condition(ended.status.conditions, "Ready")
    assert ready is not None
    assert ready.reason == "RunnerEvicted"
    assert "ephemeral" in ready.message


async def test_what_is_written_to_memory_is_the_runners_own(team: Team) -> None:
    _, said = await done_by_agent(team, "writer", "python3", "-c", source("memory"))
    found = json.loads(said)
    assert found["shm"] == 64 * MIB
    assert found["grown"] > 0.9 * found["shm"]
    assert 0 < found["mqueue"] <= MIB
