"""Suspend and resume on a real node: the real CLI finds its conversation, its files and its id again."""

import json
from typing import Any

import pytest

from agentsession.api.session import AgentSession
from agentsession.kube.resource import AGENTSESSIONS, PODS
from agentsession.sessions.turns import GO_ON
from devcluster.kubectl import kubectl

from . import operators
from .world import Team, World, reason

pytestmark = pytest.mark.node

WRITES_AND_SLEEPS = '[[tool: Bash {"command": "echo kept > kept.txt; sleep 600"}]]'
READS = '[[tool: Bash {"command": "cat kept.txt"}]] [[say: read]]'


async def _wants(team: Team, name: str, **spec: Any) -> None:
    await team.world.api.merge_patch(AGENTSESSIONS, (team.namespace, name), {"spec": spec})


async def _suspended(team: Team, name: str) -> AgentSession:
    await _wants(team, name, suspend=True)
    held = await team.until(name, lambda now: now.status.phase == "Suspended")
    assert await team.pod(held) is None
    assert (reason(held, "Suspended"), reason(held)) == ("Suspended", None)
    return held


async def _replace(world: World, component: str) -> None:
    """Every pod of a component is another one afterwards."""
    await operators.all_ready(world, component)
    old = await operators.pods(world, component)
    for pod in old:
        await world.api.delete(PODS, (pod["metadata"]["namespace"], pod["metadata"]["name"]))
    await operators.all_ready(world, component)


def _assert_exact(session: AgentSession, sent: list[dict[str, Any]]) -> None:
    usage = session.status.usage
    assert usage is not None
    assert not usage.estimated
    assert usage.requests == len(sent)
    assert usage.output_tokens == sum(item["usage"]["output_tokens"] for item in sent)
    assert usage.input_tokens == sum(item["usage"]["input_tokens"] for item in sent)


async def test_a_conversation_outlives_its_runner_all_operators_and_the_whole_egress_plane(world: World) -> None:
    team = await world.team(workspace={"size": "1Gi"})
    begun = await team.start(
        "s", f"[[say: I begin.]] {WRITES_AND_SLEEPS}", lifecycle="LongRunning", limits={"turns": 4}
    )
    await team.until("s", lambda _: team.execute(begun, "cat", "/workspace/work/kept.txt").out == "kept\n")
    held = await _suspended(team, "s")
    assert [(turn.id, turn.state) for turn in held.status.turns] == [("prompt", "Interrupted")]
    assert "Suspended" in kubectl(world.installed.kubeconfig, "get", "ags", "-n", team.namespace)

    for component in ("operator", "egress"):
        await _replace(world, component)
    await _wants(team, "s", followUps=[{"id": "more", "prompt": READS}])
    assert (await team.session("s")).status.phase == "Suspended"
    await _wants(team, "s", suspend=False)
    talked = await team.idle("s", turns=2)

    assert [(turn.id, turn.state) for turn in talked.status.turns] == [("prompt", "Completed"), ("more", "Completed")]
    assert (talked.status.start_type, talked.status.session_id) == ("Resumed", held.status.session_id)
    assert talked.status.workspace == held.status.workspace
    sent = await world.model.requests(team.key)
    assert {item["session"] for item in sent} == {held.status.session_id}
    *before, last = sent[-1]["body"]["messages"]
    told = json.dumps(before)
    order = [told.index(text) for text in ("I begin.", "echo kept", "interrupted", GO_ON, "cat kept.txt")]
    assert order == sorted(order)
    assert "kept" in json.dumps(last)
    held = await _suspended(team, "s")
    _assert_exact(held, sent)

    more = [{"id": "more", "prompt": READS}, {"id": "too-many", "prompt": "[[say: no]]"}]
    await _wants(team, "s", followUps=more, suspend=False)
    over = await team.finished("s")
    assert (reason(over), len(sent)) == ("TurnLimitReached", 4)
    assert len(await world.model.requests(team.key)) == 4, "the limit did not count what other processes had served"


async def test_an_ephemeral_session_that_is_cut_off_twice_still_has_an_answer(world: World) -> None:
    team = await world.team(workspace={"size": "1Gi"})
    await team.start("s", "[[stream: events=3000 interval=0.1]]")
    await team.model_sent(1)
    first = await _suspended(team, "s")
    await _wants(team, "s", suspend=False)
    await team.until("s", lambda now: now.status.phase == "Starting")
    second = await _suspended(team, "s")
    assert [turn.state for turn in second.status.turns] == ["Interrupted"]
    await _wants(team, "s", suspend=False)
    done = await team.finished("s")
    assert reason(done) == "Completed"
    assert done.status.session_id == first.status.session_id
    prompts = [json.dumps(item["body"]["messages"]).count(GO_ON) for item in await world.model.requests(team.key)]
    assert prompts == [0, 1]
