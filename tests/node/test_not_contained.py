"""Without an enforced NetworkPolicy no runner starts. Slow: the enforcer of the whole cluster stops for a minute."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agentsession.api.base import condition, is_true
from agentsession.api.conditions import CONTAINED
from agentsession.api.session import AgentSession
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import NETWORKPOLICIES
from agentsession.resources.names import NETWORK_POLICY
from devcluster import processes, settings
from devcluster.images import REPOSITORY
from tests.kube.kinds import QUOTAS

from .world import SECONDS, Team, reason

pytestmark = pytest.mark.node

POLICIES = "count/networkpolicies.networking.k8s.io"


async def policy(team: Team) -> KubeObject | None:
    """The NetworkPolicy of the team's namespace."""
    try:
        return await team.world.api.get(NETWORKPOLICIES, (team.namespace, NETWORK_POLICY))
    except NotFoundError:
        return None


async def until_there_is_a_policy(team: Team, *, other_than: str = "") -> KubeObject:
    """Wait for one with another uid."""
    async with asyncio.timeout(SECONDS):
        while (found := await policy(team)) is None or found["metadata"]["uid"] == other_than:
            await asyncio.sleep(0.05)
    return found


async def forbid_policies(team: Team) -> None:
    """Let nobody create a NetworkPolicy in the namespace."""
    metadata = {"name": "none", "namespace": team.namespace}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {POLICIES: "0"}}}
    await team.world.api.create(QUOTAS, body)
    async with asyncio.timeout(SECONDS):
        while "hard" not in (await team.world.api.get(QUOTAS, (team.namespace, "none"))).get("status", {}):
            await asyncio.sleep(0.05)


async def test_a_policy_deleted_by_hand_comes_back(team: Team) -> None:
    first = await until_there_is_a_policy(team)
    await team.world.api.delete(NETWORKPOLICIES, (team.namespace, NETWORK_POLICY))
    second = await until_there_is_a_policy(team, other_than=first["metadata"]["uid"])
    assert second["spec"] == first["spec"]


async def test_a_policy_changed_by_hand_is_put_right(team: Team) -> None:
    first = await until_there_is_a_policy(team)
    await team.world.api.merge_patch(NETWORKPOLICIES, (team.namespace, NETWORK_POLICY), {"spec": {"egress": [{}]}})
    async with asyncio.timeout(SECONDS):
        while (found := await policy(team)) is None or found["spec"] != first["spec"]:
            await asyncio.sleep(0.05)
    assert int(found["metadata"]["generation"]) == int(first["metadata"]["generation"]) + 2


async def test_no_runner_is_created_without_the_policy(team: Team) -> None:
    await until_there_is_a_policy(team)
    await forbid_policies(team)
    await team.world.api.delete(NETWORKPOLICIES, (team.namespace, NETWORK_POLICY))
    await team.start("s", "[[say: here]]")
    waits = await team.until("s", lambda now: reason(now) == "TenantNotReady")
    assert await policy(team) is None
    assert await team.pod(waits) is None
    await team.world.api.delete(QUOTAS, (team.namespace, "none"))
    assert reason(await team.finished("s")) == "Completed"
    assert await policy(team) is not None


@contextmanager
def nothing_enforced() -> Iterator[None]:
    """Stop the cluster's policy enforcer for a while."""
    processes.kill(settings.state_dir(), "kube-router".__eq__)
    try:
        yield
    finally:
        # By a process of its own: the enforcer outlives the tests, and must not inherit files that they hold open.
        subprocess.run([sys.executable, "-m", "devcluster", "up"], cwd=REPOSITORY, check=True)


async def test_no_runner_starts_where_nothing_is_enforced(team: Team) -> None:
    """The session says why, and completes by itself when policies are enforced again."""
    await team.start("before", "[[say: here]]")
    assert reason(await team.finished("before")) == "Completed"
    asked = len(await team.world.model.requests(team.key))

    with nothing_enforced():
        await team.start("s", "[[say: here]]")
        said = await team.until("s", lambda now: reason(now, CONTAINED) is not None)
        assert (reason(said, CONTAINED), reason(said)) == ("NotContained", "NotContained")
        contained = condition(said.status.conditions, CONTAINED)
        assert contained is not None
        assert contained.status == "False"
        assert "still reaches" in contained.message
        assert never_started(await team.pod(said), said)
        assert len(await team.world.model.requests(team.key)) == asked

    healed = await team.finished("s", 2 * SECONDS)
    assert reason(healed) == "Completed"
    assert is_true(healed.status.conditions, CONTAINED)


def never_started(pod: KubeObject | None, session: AgentSession) -> bool:
    """Whether the agent's container has not run in that pod, and the session was never ready."""
    assert pod is not None
    (container,) = pod["status"]["containerStatuses"]
    return list(container["state"]) == ["waiting"] and session.status.timings.ready is None
