"""A NetworkPolicy that somebody adds beside the operator's opens what it says: no session stays where there is one."""

import asyncio

import pytest

from agentsession.api.base import condition
from agentsession.api.conditions import CONTAINED, FINISHED
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import NETWORKPOLICIES
from agentsession.resources.names import RUNNER_LABEL

from .attacker import Place, Targets, probe, runner_of
from .targets import service
from .world import SECONDS, VOUCHED, Team, World, reason

pytestmark = pytest.mark.node


def opens_everything(team: Team, name: str, **selector: object) -> KubeObject:
    """What is often meant for a team's other pods."""
    metadata = {"name": name, "namespace": team.namespace}
    spec = {"podSelector": selector, "policyTypes": ["Egress"], "egress": [{}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


async def forbidden(world: World) -> Targets:
    """The API server and the cluster's DNS."""
    return Targets(
        tcp=await service(world, "default", "kubernetes"),
        dns=await service(world, "kube-system", "kube-dns", protocol="UDP"),
    )


async def until_reached(place: Place, targets: Targets) -> None:
    """The enforcer may be a moment behind."""
    async with asyncio.timeout(SECONDS):
        while (await probe(place, targets)).reached() != {*targets.tcp, *targets.dns}:
            pass


async def test_it_opens_what_it_says_and_ends_sessions_unless_the_installer_lists_it(team: Team) -> None:
    targets = await forbidden(team.world)
    await team.start("s", "[[say: here]]", lifecycle="LongRunning")
    here = runner_of(team.world, await team.idle("s"))
    assert (await probe(here, targets)).reached() == set()

    await team.world.api.create(NETWORKPOLICIES, opens_everything(team, VOUCHED))
    await until_reached(here, targets)
    assert reason(await team.session("s")) == "Connected"

    await team.world.api.create(NETWORKPOLICIES, opens_everything(team, "allow-dns"))
    stopped = await team.finished("s")
    for type_ in (CONTAINED, FINISHED):
        found = condition(stopped.status.conditions, type_)
        assert found is not None
        assert found.reason == "WidenedByPolicy"
        assert "NetworkPolicy allow-dns " in found.message


async def test_no_session_starts_beside_it_until_it_excepts_runners(team: Team) -> None:
    await team.world.api.create(NETWORKPOLICIES, opens_everything(team, "allow-dns"))
    await team.start("s", "[[say: here]]")
    waits = await team.until("s", lambda now: reason(now, CONTAINED) == "WidenedByPolicy")
    assert await team.pod(waits) is None
    excepted = {"matchExpressions": [{"key": RUNNER_LABEL, "operator": "DoesNotExist"}]}
    await team.world.api.apply(NETWORKPOLICIES, opens_everything(team, "allow-dns", **excepted))
    assert reason(await team.finished("s")) == "Completed"
