"""The reflector and the resync against a real API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from agentsession.kube import watch
from agentsession.kube.cache import Store
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.objects import Key, KubeObject, key_of
from agentsession.kube.resource import CONFIGMAPS
from agentsession.kube.resync import resync
from agentsession.kube.watch import Reflector
from tests.kube.eventually import eventually
from tests.kube.faults import Fault
from tests.kube.proxy import Proxy, running

pytestmark = pytest.mark.apiserver


def configmap(namespace: str, name: str, **data: str) -> KubeObject:
    metadata = {"namespace": namespace, "name": name, "labels": {"test": namespace}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class Watched:
    """A reflector that runs through a proxy, its store, and the keys that it told of."""

    def __init__(self, proxy: Proxy, client: ApiClient, namespace: str) -> None:
        self.proxy = proxy
        self.store = Store()
        self.told: list[Key] = []
        self.reflector = Reflector(
            client,
            CONFIGMAPS,
            self.store,
            label_selector=f"test={namespace}",
            on_change=lambda key, _: self.told.append(key),
        )

    def names(self) -> list[str]:
        return sorted(key_of(obj)[1] for obj in self.store)

    def resumed_from(self) -> int:
        """The resourceVersion in the latest request."""
        return int(parse_qs(urlsplit(self.proxy.seen[-1]).query)["resourceVersion"][0])

    def age(self) -> float:
        return self.reflector.silence()


@asynccontextmanager
async def watched(connection: Connection, namespace: str) -> AsyncIterator[Watched]:
    async with running(connection) as (proxy, url), aiohttp.ClientSession() as session:
        made = Watched(proxy, ApiClient(url, session, timeout=2.0), namespace)
        task = asyncio.create_task(made.reflector.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCH_SECONDS", 1)


async def test_the_store_follows_the_server(connection: Connection, api: ApiClient, namespace: str) -> None:
    await api.create(CONFIGMAPS, configmap(namespace, "before"))
    async with watched(connection, namespace) as w:
        await eventually(lambda: w.store.synced)
        assert w.names() == ["before"]
        await api.create(CONFIGMAPS, configmap(namespace, "after"))
        await eventually(lambda: w.names() == ["after", "before"])
        await api.apply(CONFIGMAPS, configmap(namespace, "after", x="1" * 300_000))  # one event of many chunks
        await eventually(lambda: (w.store.get((namespace, "after")) or {}).get("data"))
        await api.delete(CONFIGMAPS, (namespace, "before"))
        await eventually(lambda: w.names() == ["after"])
        assert w.told == [(namespace, name) for name in ("before", "after", "after", "before")]


async def test_a_quiet_watch_shows_progress_without_listing_again(connection: Connection, namespace: str) -> None:
    async with watched(connection, namespace) as w:
        await eventually(lambda: w.store.synced)
        oldest = 0.0

        def three_watches_later() -> bool:
            nonlocal oldest
            oldest = max(oldest, w.age())
            return len(w.proxy.seen) > 4

        await eventually(three_watches_later)
        assert oldest < 2.5
        assert sum("watch=true" not in request for request in w.proxy.seen) == 1, "it listed again"


async def test_a_watch_that_is_cut_resumes_where_it_was(connection: Connection, api: ApiClient, namespace: str) -> None:
    async with watched(connection, namespace) as w:
        await eventually(lambda: len(w.proxy.seen) >= 2)
        w.proxy.faults = [Fault(503), Fault(lose="request"), Fault(429)]
        await api.create(CONFIGMAPS, configmap(namespace, "a"))
        await eventually(lambda: not w.proxy.faults)
        last = await api.create(CONFIGMAPS, configmap(namespace, "b"))
        await eventually(lambda: w.names() == ["a", "b"])
        assert w.told == [(namespace, "a"), (namespace, "b")]
        await eventually(lambda: w.resumed_from() >= int(last["metadata"]["resourceVersion"]))


async def test_a_silent_stream_grows_old_visibly_and_is_replaced(
    connection: Connection, api: ApiClient, namespace: str
) -> None:
    async with watched(connection, namespace) as w:
        await eventually(lambda: len(w.proxy.seen) >= 2)
        w.proxy.flowing.clear()
        await api.create(CONFIGMAPS, configmap(namespace, "a"))
        await eventually(lambda: w.age() > 3.5)
        requests = len(w.proxy.seen)
        w.proxy.flowing.set()
        await eventually(lambda: w.names() == ["a"])
        assert w.age() < 2.5
        assert requests > 2, "it did not try anew while nothing came"


EXPIRED = (
    '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}'
)


@pytest.mark.parametrize("gone", [Fault(410), Fault(200, body=EXPIRED + "\n")], ids=["answer", "in the stream"])
async def test_what_was_deleted_while_the_watch_had_expired_goes(
    connection: Connection, api: ApiClient, namespace: str, gone: Fault
) -> None:
    await api.create(CONFIGMAPS, configmap(namespace, "a"))
    await api.create(CONFIGMAPS, configmap(namespace, "b"))
    async with watched(connection, namespace) as w:
        await eventually(lambda: w.names() == ["a", "b"] and len(w.proxy.seen) >= 2)
        w.proxy.flowing.clear()
        w.proxy.faults = [gone]
        await api.delete(CONFIGMAPS, (namespace, "a"))
        await eventually(lambda: not w.proxy.faults)  # the silent stream was given up, and the deletion with it
        w.proxy.flowing.set()
        await eventually(lambda: w.names() == ["b"])
        assert w.told[-1] == (namespace, "a")
        assert sum("watch=true" not in request for request in w.proxy.seen) == 2


async def test_resync_corrects_a_store(api: ApiClient, namespace: str) -> None:
    store = Store()
    told: set[Key] = set()
    await api.create(CONFIGMAPS, configmap(namespace, "missed"))
    gone = await api.create(CONFIGMAPS, configmap(namespace, "gone"))
    store.observe("ADDED", gone)
    await api.delete(CONFIGMAPS, key_of(gone))
    task = asyncio.create_task(
        resync(api, CONFIGMAPS, store, lambda key, _: told.add(key), label_selector=f"test={namespace}")
    )
    await eventually(lambda: store.synced)
    assert told == {(namespace, "missed"), (namespace, "gone")}
    assert store.get((namespace, "missed")) is not None
    task.cancel()
