"""The tenant controller against a real API server."""

import asyncio
from typing import Any

import pytest

from agentsession.api.tenant import AgentTenant
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import Key, KubeObject, key_of
from agentsession.kube.resource import (
    AGENTTENANTS,
    EVENTS,
    NETWORKPOLICIES,
    PERSISTENTVOLUMECLAIMS,
    SERVICEACCOUNTS,
    Resource,
)
from agentsession.resources.names import NETWORK_POLICY, RUNNER_SERVICE_ACCOUNT
from agentsession.resources.network import network_policy
from tests.sessions.build import INSTALL
from tests.sessions.inprocess import SECONDS, World

pytestmark = pytest.mark.apiserver


async def _there(world: World, resource: Resource, name: str) -> KubeObject:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await world.api.get(resource, (world.namespace, name))
            except NotFoundError:
                await asyncio.sleep(0.02)


async def _says(world: World, reason: str) -> AgentTenant:
    key: Key = (world.namespace, "default")
    async with asyncio.timeout(SECONDS):
        while True:
            now = AgentTenant.model_validate(await world.api.get(AGENTTENANTS, key))
            if any(item.type == "Ready" and item.reason == reason for item in now.status.conditions):
                return now
            await asyncio.sleep(0.02)


async def test_its_namespace_is_made_ready(world: World) -> None:
    await world.tenant(workspace={"size": "1Gi", "retain": "Delete"})
    ready = await _says(world, "Ready")
    policy = await _there(world, NETWORKPOLICIES, NETWORK_POLICY)
    assert policy["spec"] == network_policy(world.namespace, INSTALL)["spec"]
    account = await _there(world, SERVICEACCOUNTS, RUNNER_SERVICE_ACCOUNT)
    assert account["automountServiceAccountToken"] is False
    claim = await _there(world, PERSISTENTVOLUMECLAIMS, "agentsession-default")
    assert [owner["uid"] for owner in claim["metadata"]["ownerReferences"]] == [ready.metadata.uid]


async def test_a_claim_of_somebody_elses_is_told_of_in_one_line(world: World) -> None:
    metadata = {"name": "agentsession-default", "namespace": world.namespace}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    await world.api.create(PERSISTENTVOLUMECLAIMS, claim)
    await world.tenant(workspace={"size": "1Gi"})
    refused = await _says(world, "NamespaceNotReady")
    (message,) = {item.message for item in refused.status.conditions if item.reason == "NamespaceNotReady"}
    assert "spec is immutable" in message
    assert message == " ".join(message.split())


async def test_a_claim_that_is_to_be_retained_has_no_owner(world: World) -> None:
    await world.tenant(workspace={"size": "1Gi"})
    claim = await _there(world, PERSISTENTVOLUMECLAIMS, "agentsession-default")
    assert "ownerReferences" not in claim["metadata"]


async def test_a_claim_that_has_lost_its_volume_is_said_and_made_anew_once_deleted(world: World) -> None:
    await world.tenant(workspace={"size": "1Gi"})
    await _says(world, "Ready")
    lost = await _there(world, PERSISTENTVOLUMECLAIMS, "agentsession-default")
    bound = {"pv.kubernetes.io/bind-completed": "yes"}
    gone = {"metadata": {"annotations": bound}, "spec": {"volumeName": "a-volume-that-is-gone"}}
    await world.api.merge_patch(PERSISTENTVOLUMECLAIMS, key_of(lost), gone)
    told = await _says(world, "NamespaceNotReady")
    assert "PersistentVolumeClaim agentsession-default has lost its volume: delete it" in str(told.status.conditions)
    await world.api.delete(PERSISTENTVOLUMECLAIMS, key_of(lost))
    await _says(world, "Ready")
    anew = await _there(world, PERSISTENTVOLUMECLAIMS, "agentsession-default")
    assert anew["metadata"]["uid"] != lost["metadata"]["uid"]


async def test_what_the_egress_plane_finds_is_said_once(world: World) -> None:
    made = await world.tenant()
    await _says(world, "Ready")
    world.egress.finds(made, "GrantMissing", "kubectl create rolebinding")
    await world.leader.meters.pull()
    missing = await _says(world, "GrantMissing")
    assert "kubectl create rolebinding" in str(missing.status.conditions)
    world.egress.finds(made)
    await world.leader.meters.pull()
    await _says(world, "Ready")
    await _told(world, ["GrantMissing", "Ready"])


async def _told(world: World, reasons: list[str]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            found = (await world.api.list(EVENTS, namespace=world.namespace)).items
            told = sorted(event["reason"] for event in found if event["regarding"]["kind"] == "AgentTenant")
            if told == sorted(reasons):
                return
            await asyncio.sleep(0.02)


async def test_a_tenant_that_is_made_again_furnishes_its_namespace_again(world: World) -> None:
    await world.tenant()
    await _says(world, "Ready")
    await world.api.delete(AGENTTENANTS, (world.namespace, "default"))
    await world.api.delete(SERVICEACCOUNTS, (world.namespace, RUNNER_SERVICE_ACCOUNT))
    async with asyncio.timeout(SECONDS):
        while world.caches.tenants.get((world.namespace, "default")) is not None or len(world.queues.tenants):
            await asyncio.sleep(0.02)
    await world.tenant()
    await _there(world, SERVICEACCOUNTS, RUNNER_SERVICE_ACCOUNT)


@pytest.mark.parametrize(
    ("resource", "name"),
    [(SERVICEACCOUNTS, RUNNER_SERVICE_ACCOUNT), (PERSISTENTVOLUMECLAIMS, "agentsession-default")],
    ids=["account", "claim"],
)
async def test_what_somebody_deletes_is_made_again(world: World, resource: Resource, name: str) -> None:
    await world.tenant(workspace={"size": "1Gi"})
    await _says(world, "Ready")
    first = await _there(world, resource, name)
    await world.api.merge_patch(resource, (world.namespace, name), {"metadata": {"finalizers": None}})
    await world.api.delete(resource, (world.namespace, name))
    async with asyncio.timeout(SECONDS):
        while (await _there(world, resource, name))["metadata"]["uid"] == first["metadata"]["uid"]:
            await asyncio.sleep(0.02)


async def test_an_unchanged_tenant_is_not_written_again(world: World) -> None:
    await world.tenant(workspace={"size": "1Gi"})
    ready = await _says(world, "Ready")
    versions = await _versions(world)
    for _ in range(3):
        await world.leader.tenants.reconcile(ready.key)
    assert await _versions(world) == versions


async def _versions(world: World) -> list[Any]:
    kinds = (AGENTTENANTS, NETWORKPOLICIES, PERSISTENTVOLUMECLAIMS, SERVICEACCOUNTS)
    lists = [await world.api.list(kind, namespace=world.namespace) for kind in kinds]
    return [item["metadata"]["resourceVersion"] for found in lists for item in found.items]
