"""The proxy that other tests rely on: each fault happens to what it is meant for, and to nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import aiohttp
import pytest

from agentsession.kube import errors
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.resource import CONFIGMAPS, PODS
from tests.kube.eventually import eventually
from tests.kube.faults import Fault, Rule, asked
from tests.kube.proxy import Proxy, running

pytestmark = pytest.mark.apiserver


def config_map(namespace: str, name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}}


@asynccontextmanager
async def proxied(connection: Connection, seed: int = 0) -> AsyncIterator[tuple[Proxy, ApiClient]]:
    async with running(connection, seed=seed) as (proxy, url), aiohttp.ClientSession() as session:
        yield proxy, ApiClient(url, session, timeout=2.0)


async def _read_to_the_end(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


async def names(api: ApiClient, namespace: str) -> set[str]:
    return {item["metadata"]["name"] for item in (await api.list(CONFIGMAPS, namespace=namespace)).items}


@pytest.mark.parametrize(
    ("method", "path", "watch", "verb", "resource"),
    [
        ("GET", "/api/v1/pods", True, "watch", "pods"),
        ("GET", "/api/v1/namespaces", False, "list", "namespaces"),
        ("PATCH", "/api/v1/namespaces/n", False, "patch", "namespaces"),
        ("POST", "/api/v1/namespaces/n/pods", False, "create", "pods"),
        ("PATCH", "/apis/agentsession.io/v1alpha1/namespaces/n/agentsessions/s/status", False, "patch", "*/status"),
        ("DELETE", "/apis/apps/v1/namespaces/n/deployments/d", False, "delete", "deployments"),
    ],
)
def test_requests_are_named_as_rbac_names_them(method: str, path: str, watch: bool, verb: str, resource: str) -> None:
    assert asked(method, path, watch=watch) == (verb, resource.replace("*", "agentsessions"))


async def test_a_rule_strikes_what_it_is_meant_for(connection: Connection, namespace: str) -> None:
    async with proxied(connection) as (proxy, api):
        proxy.rules = [Rule(Fault(409), verbs={"create"}, resources={"configmaps"})]
        with pytest.raises(errors.ConflictError):
            await api.create(CONFIGMAPS, config_map(namespace, "a"))
        await api.apply(CONFIGMAPS, config_map(namespace, "b"))
        assert "b" in await names(api, namespace)


async def test_chance_is_the_same_for_the_same_seed(connection: Connection) -> None:
    async def drawn(seed: int) -> list[bool]:
        outcomes = []
        async with proxied(connection, seed) as (proxy, api):
            proxy.rules = [Rule(Fault(500), verbs={"list"}, probability=0.5)]
            for _ in range(20):
                try:
                    await api.list(PODS, namespace="default")
                    outcomes.append(True)
                except errors.ServerError:
                    outcomes.append(False)
        return outcomes

    first = await drawn(1)
    assert 0 < sum(first) < 20
    assert first == await drawn(1)
    assert first != await drawn(2)


async def test_latency_loses_nothing(connection: Connection, namespace: str) -> None:
    async with proxied(connection) as (proxy, api):
        proxy.rules = [Rule(Fault(delay=0.2, lose="nothing"))]
        started = asyncio.get_running_loop().time()
        await api.create(CONFIGMAPS, config_map(namespace, "a"))
        assert asyncio.get_running_loop().time() - started >= 0.2


async def test_watches_can_be_stale_and_broken(connection: Connection, api: ApiClient, namespace: str) -> None:
    async with proxied(connection) as (proxy, slow):
        version = (await slow.list(CONFIGMAPS, namespace=namespace)).resource_version
        stream = slow.watch(CONFIGMAPS, namespace=namespace, resource_version=version, seconds=30)
        async with aclosing(stream):
            assert await anext(stream) is None
            proxy.watching.clear()
            await api.create(CONFIGMAPS, config_map(namespace, "a"))
            coming = asyncio.ensure_future(anext(stream))
            assert "a" in await names(slow, namespace)  # requests go through
            assert not coming.done()
            proxy.watching.set()
            event = await coming
            assert event is not None
            assert event["object"]["metadata"]["name"] in ("a", "kube-root-ca.crt")
            proxy.cut_watches()
            with pytest.raises(errors.UnreachableError):
                await _read_to_the_end(stream)


async def test_a_watch_breaks_at_its_next_event(connection: Connection, api: ApiClient, namespace: str) -> None:
    async with proxied(connection) as (proxy, client):
        version = (await client.list(CONFIGMAPS, namespace=namespace)).resource_version
        proxy.rules = [Rule(Fault(lose="answer"), verbs={"watch"})]
        await api.apply(CONFIGMAPS, config_map(namespace, "a"))
        stream = client.watch(CONFIGMAPS, namespace=namespace, resource_version=version, seconds=30)
        async with aclosing(stream):
            assert await anext(stream) is None
            with pytest.raises(errors.UnreachableError):
                await anext(stream)


@pytest.mark.parametrize(("lose", "made"), [("request", {"a"}), ("answer", {"a", "b"})])
async def test_after_a_crash_nothing_gets_through(
    connection: Connection, api: ApiClient, namespace: str, lose: str, made: set[str]
) -> None:
    async with proxied(connection) as (proxy, doomed):
        await doomed.create(CONFIGMAPS, config_map(namespace, "a"))
        proxy.crash_at(1, lose="answer" if lose == "answer" else "request")
        await doomed.list(CONFIGMAPS, namespace=namespace)
        assert not proxy.crashed.is_set()
        with pytest.raises(errors.UnknownOutcomeError):
            await doomed.create(CONFIGMAPS, config_map(namespace, "b"))
        assert proxy.crashed.is_set()
        with pytest.raises(errors.UnknownOutcomeError):
            await doomed.create(CONFIGMAPS, config_map(namespace, "c"))
        with pytest.raises(errors.UnreachableError):
            await doomed.list(CONFIGMAPS, namespace=namespace)
        await eventually(lambda: proxy.writes == 3)
    assert await names(api, namespace) - {"kube-root-ca.crt"} == made
