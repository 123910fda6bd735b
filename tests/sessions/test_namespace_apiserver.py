"""A namespace that is deleted under way: all of it goes, and the operator does not rage against that."""

import asyncio

import aiohttp
import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.errors import NotFoundError
from agentsession.kube.resource import AGENTSESSIONS, NAMESPACES
from tests.kube.proxy import running

from .inprocess import SECONDS, leading, serve_kinds, surrounded

pytestmark = pytest.mark.apiserver

OBJECTS = 4
"""A tenant and three sessions."""


async def _gone(api: ApiClient, namespace: str) -> None:
    async with asyncio.timeout(3 * SECONDS):
        while True:
            try:
                await api.get(NAMESPACES, ("", namespace))
            except NotFoundError:
                return
            await asyncio.sleep(0.1)


async def test_it_goes_with_all_that_is_in_it(connection: Connection, api: ApiClient) -> None:
    name = "goes-under-way"
    await serve_kinds(api)
    await api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    async with (
        surrounded(api, name) as place,
        running(connection) as (proxy, url),
        aiohttp.ClientSession() as http,
        leading(place, ApiClient(url, http)),
    ):
        await place.tenant(sessions={"maxConcurrent": 2})
        works, starts = await place.session("works"), await place.session("starts")
        await place.run(works)
        await place.told(starts, "Unschedulable")  # there is no node
        waits = await place.session("waits")
        await asyncio.gather(place.told(works, "Connected"), place.told(waits, "TenantAtCapacity"))
        before = proxy.writes
        await api.delete(NAMESPACES, ("", name))
        await _gone(api, name)
        assert (await api.list(AGENTSESSIONS, namespace=name)).items == []
        # For each object a status, and an Event or a repair that is refused, or two if the watch of namespaces is late.
        assert proxy.writes - before <= 3 * OBJECTS
