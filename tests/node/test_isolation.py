"""What one agent leaves behind is nothing to a model's next request, and nothing to another tenant."""

import asyncio
import inspect
import json
import re
import uuid

import pytest

from agentsession.kube.resource import AGENTSESSIONS
from tests.runner import plants

from .attacker import Place, runner_of, search
from .world import Team, World

pytestmark = pytest.mark.node

PLANT = f"""{inspect.getsource(plants)}
plant(Layout(), Path("/tmp/ran"))
"""
LOOK = """[[tool: Bash {"command": "env | grep -c PLANT; ls -A /tmp/ran"}]] [[say: two]]"""
VOLATILE = re.compile(r"toolu_\w+|cc_version=[\w.]+|\d{4}-\d\d-\d\d")
"""Ids, the build, dates."""


async def begin(team: Team, name: str, prompt: str = "[[say: one]]") -> Place:
    """The runner of a conversation after its first turn. Its agent has a helper, so that a request lists agents."""
    helper = {"name": "mine", "description": "Helps.", "prompt": "Help."}
    agent = {"tools": ["Agent", "Bash"], "subagents": [helper]}
    await team.start(name, prompt, lifecycle="LongRunning", agent=agent)
    return runner_of(team.world, await team.idle(name))


async def go_on(team: Team, name: str, prompt: str) -> list[str]:
    """Have a second turn; what the model is told in its requests, without what differs from run to run."""
    before = len(await team.world.model.requests(team.key))
    more = {"spec": {"followUps": [{"id": "more", "prompt": prompt}]}}
    await team.world.api.merge_patch(AGENTSESSIONS, (team.namespace, name), more)
    await team.idle(name, turns=2)
    bodies = [item["body"] for item in (await team.world.model.requests(team.key))[before:]]
    told = [json.dumps([body["system"], body["tools"], body["messages"]], sort_keys=True) for body in bodies]
    return [VOLATILE.sub("*", text) for text in told]


async def test_what_an_agent_plants_changes_nothing(team: Team) -> None:
    planted, twin = await asyncio.gather(begin(team, "planted"), begin(team, "twin"))
    await planted.shell("python3", "-c", PLANT)
    await twin.shell("mkdir", "/tmp/ran")  # noqa: S108
    await planted.shell("sh", "-c", "! touch /etc/claude-code/managed-settings.json")
    assert await planted.shell("ls", "-A", "/etc/claude-code") == "", "managed settings, which no switch turns off"
    control = await search(planted, "PLANT-md-home")
    assert "/tmp/home/CLAUDE.md" in control["PLANT-md-home"]  # noqa: S108
    expected = await go_on(team, "twin", LOOK)
    seen = await go_on(team, "planted", LOOK)
    assert len(expected) == 2
    assert "- mine: Helps." in expected[0], "the session's own subagent is missing"
    assert seen == expected
    assert await planted.shell("ls", "-A", "/tmp/ran") == ""  # noqa: S108


async def test_two_tenants_see_nothing_of_each_other(world: World) -> None:
    """At once on one node, each on a volume; nor does a tenant's next session see the files of the one before."""
    ours, theirs = await asyncio.gather(*(world.team(workspace={"size": "1Gi"}) for _ in range(2)))
    mark, other = (f"mark-{uuid.uuid4().hex}" for _ in range(2))
    here, there = await asyncio.gather(*(begin(team, "a", say(text)) for team, text in ((ours, mark), (theirs, other))))
    for place, text in ((here, mark), (there, other)):
        await place.shell(
            "sh", "-c", "for folder in /workspace /workspace/work /config; do touch $folder/$0; done", text
        )
    beside = await begin(ours, "b")
    for place, own in ((here, {mark}), (there, {other}), (beside, set())):
        found = await search(place, mark, other)
        assert {text for text, places in found.items() if places} == own
    for team, own_text, foreign in ((ours, mark, other), (theirs, other, mark)):
        (told,) = await go_on(team, "a", "[[say: two]]")
        assert own_text in told
        assert foreign not in json.dumps(await world.model.requests(team.key))


def say(text: str) -> str:
    """A prompt with that text, which is answered with it."""
    return f"{text} [[say: {text}]]"
