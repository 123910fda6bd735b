"""Objects that another version's CRD has let in: they lie in etcd, and neither this CRD nor the models know them."""

import asyncio
import copy
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from agentsession.api.base import API_VERSION, condition
from agentsession.api.schema import crds
from agentsession.api.session import AgentSessionStatus
from agentsession.api.tenant import AgentTenantStatus
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import InvalidError, NotFoundError
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, EVENTS, Resource
from tests.kstatus import kstatus
from tests.kube.kinds import CRDS
from tests.sessions.inprocess import SECONDS, World, operating, serve_kinds

pytestmark = pytest.mark.apiserver

GOOD = {"prompt": "hello", "agent": {"model": "m"}}
SPECS: dict[str, tuple[Mapping[str, Any], str]] = {
    "empty": ({}, "spec: set agent, or a poolRef whose template has one"),
    "another-lifecycle": ({**GOOD, "lifecycle": "Hybrid"}, "spec.lifecycle"),
    "long-time": ({**GOOD, "limits": {"wallClock": "9000h"}}, "wallClock is too long"),
}
OF_OTHER_TYPES: dict[str, tuple[Mapping[str, Any], str]] = {
    "reference-as-text": ({**GOOD, "tenantRef": "default"}, "spec.tenantRef"),
    "reference-to-a-number": ({**GOOD, "tenantRef": {"name": 7}}, "spec.tenantRef.name"),
    "agent-as-text": ({**GOOD, "agent": "m"}, "spec.agent"),
    "lists-of-everything": (
        {"prompt": ["a"], "agent": [], "limits": "none", "runtime": 5, "followUps": {"a": "b"}},
        "spec.prompt",
    ),
}
"""The API server itself cannot write their status: an Event says it."""
STATUSES: dict[str, Mapping[str, Any]] = {
    "phase": {"phase": "Sleeping", "observedGeneration": 1},
    "conditions-as-text": {"conditions": "all well"},
    "half-a-condition": {"conditions": [{"type": "Finished"}]},
    "no-times": {"timings": "yesterday"},
}
TENANTS: dict[str, tuple[Mapping[str, Any], str]] = {
    "no-provider": ({"sessions": {"maxConcurrent": 2}}, "spec.provider: Field required"),
    "too-many-sessions": (
        {"provider": {"credentialSecretRef": {"name": "key"}, "models": ["m"]}, "sessions": {"maxConcurrent": 10**6}},
        "spec.sessions.maxConcurrent",
    ),
}


def anything_goes(crd: Mapping[str, Any]) -> dict[str, Any]:
    """The CRD of a version that admitted whatever there is in spec and status."""
    relaxed = copy.deepcopy(dict(crd))
    schema = relaxed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["x-kubernetes-validations"]
    for part in ("spec", "status"):
        schema["properties"][part] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return relaxed


@pytest.fixture
async def stored(api: ApiClient, namespace: str) -> AsyncIterator[World]:
    """A world in which all of the above was stored before this version came. (Unknown fields the server leaves out.)"""
    await serve_kinds(api)
    try:
        for crd in crds():
            await api.apply(CRDS, anything_goes(crd))
        for name, (spec, _) in (SPECS | OF_OTHER_TYPES).items():
            await _stored(api, AGENTSESSIONS, namespace, name, spec)
        for name, status in STATUSES.items():
            await _stored(api, AGENTSESSIONS, namespace, name, GOOD, status)
        for name, (spec, _) in TENANTS.items():
            await _stored(api, AGENTTENANTS, namespace, name, spec)
    finally:
        for crd in crds():
            await api.apply(CRDS, crd)
    await _strict_again(api, namespace)
    async with operating(api, namespace) as world:
        await world.tenant()
        yield world


async def _stored(
    api: ApiClient,
    resource: Resource,
    namespace: str,
    name: str,
    spec: Mapping[str, Any],
    status: Mapping[str, Any] | None = None,
) -> None:
    body = {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                made = await api.create(resource, body)
                break
            except InvalidError:  # the old schema is still served
                await asyncio.sleep(0.05)
    if status is not None:
        await api.apply_status(resource, (namespace, name), status, uid=made["metadata"]["uid"])


async def _strict_again(api: ApiClient, namespace: str) -> None:
    wrong = {"apiVersion": API_VERSION, "kind": "AgentSession", "metadata": {"namespace": namespace, "name": "wrong"}}
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await api.create(AGENTSESSIONS, {**wrong, "spec": {}})
            except InvalidError:
                return
            await api.delete(AGENTSESSIONS, (namespace, "wrong"))


async def _refused(world: World, resource: Resource, name: str, says: str) -> None:
    kind = AgentSessionStatus if resource is AGENTSESSIONS else AgentTenantStatus
    async with asyncio.timeout(SECONDS):
        while True:
            raw = await world.api.get(resource, (world.namespace, name))
            ready = condition(kind.model_validate(raw["status"]).conditions, "Ready")
            if ready is not None and ready.reason == "InvalidSpec":
                assert says in ready.message
                assert kstatus(raw) == "Failed"
                return
            await asyncio.sleep(0.05)


async def test_each_is_marked_once_and_harms_nobody(stored: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name, (_, says) in SPECS.items():
        await _refused(stored, AGENTSESSIONS, name, says)
    for name, (_, says) in TENANTS.items():
        await _refused(stored, AGENTTENANTS, name, says)
    async with asyncio.timeout(SECONDS):
        while await _told(stored, "InvalidSpec") != {*SPECS, *OF_OTHER_TYPES, *TENANTS}:
            await asyncio.sleep(0.05)
    before = await _versions(stored)
    for name in (*SPECS, *OF_OTHER_TYPES):
        await stored.leader.sessions.reconcile((stored.namespace, name))
    for name in TENANTS:
        await stored.leader.tenants.reconcile((stored.namespace, name))
    assert await _versions(stored) == before

    good = await stored.session("good")
    agent = await stored.run(good)
    agent.free.set()
    await stored.says(good, "Completed")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_what_a_session_has_done_is_not_done_again_because_its_status_cannot_be_read(stored: World) -> None:
    await stored.says(await stored.session("good", agent={"model": "other"}), "ModelNotAllowed")
    for name, status in STATUSES.items():
        await stored.leader.sessions.reconcile((stored.namespace, name))
        raw = await stored.api.get(AGENTSESSIONS, (stored.namespace, name))
        assert raw["status"] == status
    pods = (await stored.api.list(Resource("", "v1", "Pod", "pods"), namespace=stored.namespace)).items
    assert pods == []
    async with asyncio.timeout(SECONDS):
        while await _told(stored, "InvalidStatus") != set(STATUSES):
            await asyncio.sleep(0.05)


async def _told(world: World, reason: str) -> set[str]:
    events = (await world.api.list(EVENTS, namespace=world.namespace)).items
    return {event["regarding"]["name"] for event in events if event["reason"] == reason}


async def test_sessions_of_a_tenant_that_cannot_be_read_wait_for_it(stored: World) -> None:
    session = await stored.session(tenantRef={"name": "too-many-sessions"})
    waiting = await stored.says(session, "TenantNotReady")
    ready = condition(waiting.status.conditions, "Ready")
    assert ready is not None
    assert "InvalidSpec: spec.sessions.maxConcurrent" in ready.message


async def test_each_can_be_deleted(stored: World) -> None:
    for resource, names in ((AGENTSESSIONS, [*SPECS, *OF_OTHER_TYPES, *STATUSES]), (AGENTTENANTS, [*TENANTS])):
        for name in names:
            await stored.api.delete(resource, (stored.namespace, name))
            with pytest.raises(NotFoundError):
                await stored.api.get(resource, (stored.namespace, name))


async def _versions(world: World) -> dict[str, str]:
    found = [await world.api.list(resource, namespace=world.namespace) for resource in (AGENTSESSIONS, AGENTTENANTS)]
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for listed in found for item in listed.items}
