"""What the cluster does to a session's pod, as a real node, scheduler and API server tell it."""

import json

import pytest

from agentsession.kube.resource import PODS

from .test_healing import said
from .world import SECONDS, Team, reason

pytestmark = pytest.mark.node


async def test_a_drained_node_explains_the_end(team: Team) -> None:
    """The runner ends its turn at once, as it is told to: that is not why the session ended."""
    await team.start("s", "[[stream: events=600 interval=0.1]]")
    await team.model_sent(1)
    pod = await team.pod(await team.session("s"))
    assert pod is not None
    team.evict(pod["metadata"]["name"])
    done = await team.finished("s")
    assert reason(done, "Finished") == "RunnerEvicted"
    assert "EvictionByEvictionAPI" in said(done, "Finished").message
    await team.no_pod(done)


async def test_an_agent_that_fills_its_disk_is_evicted(team: Team) -> None:
    """The kubelet looks every ten seconds, at figures that may be a minute old."""
    amounts = {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "50Mi"}
    resources = {"requests": amounts, "limits": {**amounts, "cpu": "1", "memory": "1Gi"}}
    command = json.dumps({"command": "head -c 100M /dev/zero > big; sleep 300"})
    await team.start("s", f"[[tool: Bash {command}]]", runtime={"resources": resources})
    done = await team.finished("s", 2 * SECONDS)
    assert reason(done, "Finished") == "RunnerEvicted"
    assert "ephemeral" in said(done, "Finished").message


async def test_a_pod_that_somebody_deletes_is_lost(team: Team) -> None:
    await team.start("s", "[[stream: events=600 interval=0.1]]")
    await team.model_sent(1)
    pod = await team.pod(await team.session("s"))
    assert pod is not None
    await team.world.api.delete(PODS, (team.namespace, pod["metadata"]["name"]))
    done = await team.finished("s")
    assert reason(done, "Finished") == "RunnerLost"
    assert [turn.state for turn in done.status.turns] == ["Failed"]


async def test_a_volume_that_nobody_makes_is_named(team: Team) -> None:
    await team.give_tenant(name="stateful", workspace={"size": "1Gi", "storageClassName": "nobody-has-this"})
    await team.tenant_says("Ready", "stateful")
    await team.start("s", "[[say: never]]", tenantRef={"name": "stateful"})
    waits = await team.until("s", lambda now: reason(now) == "VolumeNotReady")
    claim = "PersistentVolumeClaim agentsession-stateful of StorageClass nobody-has-this is Pending"
    assert claim in said(waits).message
    assert reason(waits, "Reconciling") == "VolumeNotReady"
