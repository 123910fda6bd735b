"""What the controller believes of its writes when they are slow, refused for a moment, or not answered."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.refusals import LEAST, MOST
from agentsession.kube.resource import AGENTSESSIONS, CONFIGMAPS, PODS, Resource
from tests.kube.faults import Fault, Rule
from tests.kube.kinds import QUOTAS
from tests.kube.proxy import Proxy, running

from .inprocess import SECONDS, World, operating

pytestmark = pytest.mark.apiserver


@pytest.fixture
async def proxied(connection: Connection, namespace: str) -> AsyncIterator[tuple[World, Proxy]]:
    async with (
        running(connection) as (proxy, url),
        aiohttp.ClientSession() as http,
        operating(ApiClient(url, http), namespace) as world,
    ):
        yield world, proxy


async def test_a_slot_is_taken_from_the_decision_on(proxied: tuple[World, Proxy]) -> None:
    world, proxy = proxied
    await world.tenant(sessions={"maxConcurrent": 1})
    older = await world.session("older", prompt=None, promptFrom={"configMapKeyRef": {"name": "p", "key": "k"}})
    await world.says(older, "PromptNotFound")  # so it does not count as ahead of the younger one
    metadata = {"name": "p", "namespace": world.namespace}
    await world.api.create(
        CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "from a map"}}
    )

    slow = Fault(delay=1.0, lose="nothing")
    proxy.rules.append(Rule(slow, verbs={"patch"}, resources={"agentsessions/status"}))
    younger = await world.session("younger")
    async with asyncio.timeout(SECONDS):
        while not any("younger/status" in request for request in proxy.seen):
            await asyncio.sleep(0.01)
    world.queues.sessions.add(older.key)  # the younger one's status is on its way, its pod is not there yet
    await world.made(younger)
    await world.says(older, "TenantAtCapacity")
    assert len((await world.api.list(PODS, namespace=world.namespace)).items) == 1


async def test_a_pod_whose_creation_got_no_answer_is_looked_for_at_once(proxied: tuple[World, Proxy]) -> None:
    world, proxy = proxied
    await world.tenant()
    proxy.rules.append(Rule(Fault(lose="answer"), verbs={"create"}, resources={"pods"}))
    session = await world.session()
    path = f"/api/v1/namespaces/{world.namespace}/pods"
    looked = f"GET {path}/{world.pod_key(session)[1]}"
    async with asyncio.timeout(SECONDS):
        while looked not in proxy.seen:
            await asyncio.sleep(0.01)
    about_pods = [request.partition("?")[0] for request in proxy.seen if path in request]
    assert about_pods[:2] == [f"POST {path}", looked], "it holds a slot, whatever the watch has shown"


async def test_what_a_quota_refuses_is_not_asked_for_again_and_again(proxied: tuple[World, Proxy]) -> None:
    world, _ = proxied
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": world.namespace}}
    await world.api.create(QUOTAS, {**quota, "spec": {"hard": {"pods": "0"}}})
    async with asyncio.timeout(SECONDS):
        while "status" not in await world.api.get(QUOTAS, (world.namespace, "none")):
            await asyncio.sleep(0.02)
    await world.tenant()
    session = await world.session()
    refused = await world.says(session, "PodRefused")
    assert "raise ResourceQuota none or free some of it" in str(refused.status.conditions)
    again = await world.leader.sessions.reconcile(session.key)
    assert again is not None
    assert LEAST <= again <= MOST


@pytest.mark.parametrize(("resource", "ttl"), [(PODS, None), (AGENTSESSIONS, 0)])
async def test_a_conflict_does_not_mean_that_it_is_gone(
    proxied: tuple[World, Proxy], resource: Resource, ttl: int | None
) -> None:
    world, proxy = proxied
    await world.tenant()
    session = await world.session(ttlSecondsAfterFinished=ttl)
    conflict = Fault(409, body='{"kind": "Status", "code": 409, "reason": "Conflict", "message": "try again"}')
    proxy.rules.append(Rule(conflict, verbs={"delete"}, resources={resource.plural}))
    (await world.run(session)).free.set()
    async with asyncio.timeout(SECONDS):
        while not any("DELETE" in request and f"/{resource.plural}/" in request for request in proxy.seen):
            await asyncio.sleep(0.01)
    proxy.rules.clear()
    async with asyncio.timeout(SECONDS):
        while (await world.api.list(resource, namespace=world.namespace)).items:
            await asyncio.sleep(0.02)


async def test_an_end_that_is_refused_is_written_ever_later(
    proxied: tuple[World, Proxy], caplog: pytest.LogCaptureFixture
) -> None:
    world, proxy = proxied
    await world.tenant()
    session = await world.session()
    agent = await world.run(session)
    await world.says(session, "Connected")
    denied = Fault(403, body='{"kind": "Status", "code": 403, "reason": "Forbidden", "message": "a policy says no"}')
    proxy.rules.append(Rule(denied, verbs={"patch"}, resources={"agentsessions/status"}))
    agent.free.set()

    def waits() -> list[float]:
        return [float(line.split()[-2]) for line in caplog.messages if "a policy says no" in line]

    async with asyncio.timeout(SECONDS):
        while len(waits()) < 5:
            await asyncio.sleep(0.01)
    assert waits()[4] > 1, "what the runner has said is not forgotten meanwhile, so it is one failure after another"
    proxy.rules.clear()
    await world.says(session, "Completed")
