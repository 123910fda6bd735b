"""A tenant's slots when several sessions start at once: seen only with real writes, which take their time."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.resource import CONFIGMAPS, PODS
from tests.kube.proxy import Fault, Proxy, Rule, running

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
