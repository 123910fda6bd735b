"""Two replicas of each: whichever ends, at whatever moment, nothing is done twice and nothing is lost unsaid."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from agentsession.api.session import AgentSession
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import AGENTSESSIONS, PODS
from agentsession.resources.names import RUNNER_LABEL

from . import operators
from .world import SECONDS, Team, World, reason

pytestmark = pytest.mark.node


async def test_a_leader_that_is_told_to_end_releases_its_lease(world: World) -> None:
    await operators.all_ready(world, "operator")
    pod, holder = await operators.leader(world), await operators.holder_of(world)
    container = _container(pod)["containerID"]
    told = monotonic()
    operators.send(pod, signal.SIGTERM)
    await operators.another_leads(world, holder)
    assert monotonic() - told < 3, "that is as long as an expired Lease takes"
    async with asyncio.timeout(SECONDS):
        while (ended := _end(await world.api.get(PODS, _key(pod)), container)) is None:
            await asyncio.sleep(0.1)
    assert ended["exitCode"] == 0
    await operators.all_ready(world, "operator")


def _key(pod: KubeObject) -> tuple[str, str]:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _container(pod: KubeObject) -> dict[str, Any]:
    status: dict[str, Any] = pod["status"]["containerStatuses"][0]
    return status


def _end(pod: KubeObject, container: str) -> dict[str, Any] | None:
    """How that very container ended: an earlier one of the pod may have ended otherwise."""
    status = _container(pod)
    ends: list[dict[str, Any]] = [
        state["terminated"] for state in (status["lastState"], status["state"]) if "terminated" in state
    ]
    return next((end for end in ends if end["containerID"] == container), None)


async def _asked(team: Team) -> bool:
    return len(await team.world.model.requests(team.key)) > 0


async def _at_once(_: Team) -> bool:
    return True


async def _made(team: Team) -> bool:
    selector = f"{RUNNER_LABEL}=true"
    return bool((await team.world.api.list(PODS, namespace=team.namespace, label_selector=selector)).items)


MOMENTS: dict[str, Callable[[Team], Any]] = {
    "before there is a pod": _at_once,
    "when the first pod was made": _made,
    "in the middle of a turn": _asked,
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_leader_that_dies_doubles_nothing(team: Team, moment: str) -> None:
    world = team.world
    await operators.all_ready(world, "operator")
    await team.tenant_says("Ready")
    leader, holder = await operators.leader(world), await operators.holder_of(world)
    async with operators.runners_of(world, team.namespace) as runners:
        for name in ("s1", "s2"):
            await team.start(name, f"[[stream: events=15 interval=0.1]] [[tool: Bash {_ECHO}]] [[say: {name} is done]]")
        talk = [{"id": "more", "prompt": "[[say: talk goes on]]"}]
        await team.start("talk", "[[stream: events=15 interval=0.1]]", lifecycle="LongRunning", followUps=talk)
        async with asyncio.timeout(SECONDS):
            while not await MOMENTS[moment](team):
                await asyncio.sleep(0.02)
        killed = monotonic()
        operators.send(leader, signal.SIGKILL)
        await world.api.delete(PODS, _key(leader), grace_seconds=0)  # the kubelet would restart it ever later
        await operators.another_leads(world, holder)
        assert monotonic() - killed < 8
        done = {name: await team.finished(name) for name in ("s1", "s2")}
        done["talk"] = await team.idle("talk", turns=2)
        await world.api.delete(AGENTSESSIONS, (team.namespace, "talk"))
        for session in done.values():
            await team.no_pod(session)

    sent = await world.model.requests(team.key)
    assert {name: len(uids) for name, uids in runners.granted.items()} == dict.fromkeys(done, 1)
    assert len(sent) == 2 + 2 + 2
    for name in ("s1", "s2"):
        assert reason(done[name]) == "Completed"
        assert done[name].status.turns[0].text == f"{name} is done"
    assert [turn.state for turn in done["talk"].status.turns] == ["Completed", "Completed"]
    for name in ("s1", "s2"):
        assert_exact(done[name], sent)


_ECHO = '{"command": "echo hello"}'


def assert_exact(session: AgentSession, sent: list[dict[str, Any]]) -> None:
    """Its usage is what the model says that it served it."""
    served = [item["usage"] for item in sent if item["session"] == session.status.session_id]
    usage = session.status.usage
    assert usage is not None
    assert not usage.estimated
    assert usage.requests == len(served)
    assert usage.output_tokens == sum(item["output_tokens"] for item in served)
    assert usage.input_tokens == sum(item["input_tokens"] for item in served)


async def _serving(team: Team) -> KubeObject:
    """The egress pod that forwards the team's only request."""
    await team.model_sent(1)
    address = (await team.world.model.requests(team.key))[0]["client"]
    found = [pod for pod in await operators.pods(team.world, "egress") if pod["status"]["podIP"] == address]
    return found[0]


async def test_usage_is_an_estimate_when_an_egress_process_dies_in_the_middle_of_a_stream(team: Team) -> None:
    await operators.all_ready(team.world, "egress")
    await team.start("s", "[[stream: events=60 interval=0.1]]")
    pod = await _serving(team)
    operators.send(pod, signal.SIGKILL, "egress")
    await team.world.api.delete(PODS, _key(pod), grace_seconds=0)
    done = await team.finished("s")
    assert reason(done) in ("Completed", "TurnFailed")
    assert done.status.usage is not None
    assert done.status.usage.estimated
    await operators.all_ready(team.world, "egress")


async def test_usage_is_exact_when_an_egress_process_is_told_to_end_in_the_middle_of_a_stream(team: Team) -> None:
    await operators.all_ready(team.world, "egress")
    await team.start("s", "[[stream: events=60 interval=0.1]]")
    await team.world.api.delete(PODS, _key(await _serving(team)))
    done = await team.finished("s")
    assert reason(done) == "Completed"
    assert_exact(done, await team.world.model.requests(team.key))
    await operators.all_ready(team.world, "egress")


async def test_a_rollout_of_the_egress_plane_makes_nothing_an_estimate(team: Team) -> None:
    """A session that goes on: what it used is in the last reports of processes that are gone by now."""
    world = team.world
    await operators.all_ready(world, "egress")
    await team.start("s", "[[say: one]]", lifecycle="LongRunning")
    await team.idle("s")
    before = await _serving(team)
    await world.api.delete(PODS, _key(before))
    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(NotFoundError):
            while await world.api.get(PODS, _key(before)):
                await asyncio.sleep(0.1)
    more = {"spec": {"followUps": [{"id": "more", "prompt": "[[say: two]]"}]}}
    await world.api.merge_patch(AGENTSESSIONS, (team.namespace, "s"), more)
    await team.idle("s", turns=2)
    done = await team.until("s", lambda now: now.status.usage is not None and now.status.usage.requests == 2)
    assert_exact(done, await world.model.requests(team.key))
    assert done.status.usage is not None
    assert len(done.status.usage.meters) == 2
