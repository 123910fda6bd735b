"""From inside a runner, as the agent would: read-only, without privilege, and only the egress plane answers.

Each finding in the runner stands beside the same look from an unrestricted pod, which finds everything.
"""

import asyncio
import json
import shlex
from dataclasses import dataclass

import pytest

from agentsession.kube.errors import ForbiddenError
from agentsession.kube.resource import AGENTSESSIONS, PODS

from .attacker import Place, Report, Targets, neighbourhood, probe, runner_of, source, unrestricted
from .targets import Map, operator, survey
from .world import SECONDS, Installed, Team, World, entered

pytestmark = pytest.mark.node

VOLUMES = {"/workspace", "/config", "/tmp"}  # noqa: S108
IN_MEMORY = {"/dev/shm", "/dev/mqueue"}  # noqa: S108
"""What every container has, and what counts as its own memory."""
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@dataclass(frozen=True)
class Seen:
    """What was found from where."""

    map: Map
    outside: Report
    """By the unrestricted pod, of what is open."""
    admitted: Report
    """By the operator's pod, of what is guarded."""
    stranger: Report
    """By the unrestricted pod, of what is guarded."""
    inside: Report
    """By a process in a runner, of everything and of the egress plane."""
    agent: Report
    """The same by the agent, with its Bash tool."""


@pytest.fixture(scope="module")
def seen(installed: Installed) -> Seen:
    """Two tenants, two sessions of one of them, and an unrestricted pod; each looks around."""

    async def look() -> Seen:
        async with entered(installed) as world:
            return await _look(world)

    return asyncio.run(look())


async def _look(world: World) -> Seen:
    ours, theirs = await asyncio.gather(world.team(), world.team())
    (bystander, neighbour), *runners = await asyncio.gather(
        neighbourhood(world), _runner(ours, "a"), _runner(ours, "b"), _runner(theirs, "c")
    )
    here, *others = runners
    map_ = await survey(world, neighbour, *others)
    everything = Targets(
        names=[*map_.open.names, "example.com"],
        tcp=[*map_.open.tcp, *map_.guarded.tcp, *map_.egress],
        dns=map_.open.dns,
    )
    return Seen(
        map=map_,
        outside=await reaches_all(bystander, map_.open),
        admitted=await reaches_all(await operator(world), map_.guarded),
        stranger=await probe(bystander, map_.guarded),
        inside=await probe(here, everything),
        agent=await _probe_by_agent(ours, "a", everything),
    )


async def _runner(team: Team, name: str) -> Place:
    await team.start(name, "[[say: here]]", lifecycle="LongRunning")
    return runner_of(team.world, await team.idle(name))


async def reaches_all(place: Place, targets: Targets) -> Report:
    """The control: wait until all of it is reached, since Services and name servers may be a moment behind."""
    wanted = {*targets.names, *targets.tcp, *targets.dns}
    deadline = asyncio.get_running_loop().time() + SECONDS
    while missing := wanted - (report := await probe(place, targets)).reached():
        assert asyncio.get_running_loop().time() < deadline, f"from {place.pod} not reached: {missing}"
    return report


async def _probe_by_agent(team: Team, session: str, targets: Targets) -> Report:
    """Have the agent of the session run the probe in its next turn; what it saw is in what it tells the model."""
    command = shlex.join(["python3", "-c", source("probe"), targets.model_dump_json()])
    prompt = f"[[tool: Bash {json.dumps({'command': command})}]] [[say: done]]"
    more = {"spec": {"followUps": [{"id": "look", "prompt": prompt}]}}
    await team.world.api.merge_patch(AGENTSESSIONS, (team.namespace, session), more)
    await team.idle(session, turns=2)
    last = (await team.world.model.requests(team.key))[-1]["body"]["messages"][-1]
    (result,) = (block for block in last["content"] if block["type"] == "tool_result")
    return Report.model_validate_json(result["content"])


@pytest.fixture(params=["inside", "agent"])
def runner(seen: Seen, request: pytest.FixtureRequest) -> Report:
    """Each test twice: what a process in the runner finds, and what the agent finds."""
    report: Report = getattr(seen, request.param)
    return report


def test_the_file_system_is_read_only(seen: Seen, runner: Report) -> None:
    assert "/" in seen.outside.writable
    assert set(runner.writable) == VOLUMES | IN_MEMORY


def test_there_is_no_privilege(seen: Seen, runner: Report) -> None:
    outside = seen.outside.process
    assert int(outside["CapEff"], 16)
    assert (outside["NoNewPrivs"], outside["Seccomp"]) == ("0", "0")
    assert {name: int(runner.process[name], 16) for name in CAPABILITIES} == dict.fromkeys(CAPABILITIES, 0)
    assert (runner.process["NoNewPrivs"], runner.process["Seccomp"]) == ("1", "2")


def test_there_is_no_token_of_the_api_server(seen: Seen, runner: Report) -> None:
    assert any(path.startswith("/run/secrets/kubernetes.io") for path in seen.outside.tokens), seen.outside.tokens
    assert runner.tokens == {"/tmp/identity/token": "agentsession/identity"}  # noqa: S108


def test_there_is_no_dns(seen: Seen, runner: Report) -> None:
    assert (seen.outside.resolved, seen.outside.answered) == (seen.map.open.names, seen.map.open.dns)
    assert (runner.resolved, runner.answered) == ([], [])


def test_only_the_egress_plane_answers(seen: Seen, runner: Report) -> None:
    assert seen.outside.connected == seen.map.open.tcp
    assert seen.admitted.connected == seen.map.guarded.tcp
    assert runner.connected == seen.map.egress


def test_runners_are_closed_to_all_but_the_operator(seen: Seen) -> None:
    assert seen.admitted.connected == seen.map.guarded.tcp
    assert seen.stranger.connected == []


async def test_runners_live_under_pod_security_restricted(world: World, team: Team) -> None:
    await team.start("s", "[[say: here]]")
    await team.finished("s")
    with pytest.raises(ForbiddenError, match='violates PodSecurity "restricted'):
        await world.api.create(PODS, unrestricted(world, team.namespace, "loose", ["true"]))
