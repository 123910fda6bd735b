"""What the operator's port answers."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from agentsession import main, watches
from agentsession.endpoints import application
from agentsession.kube.caches import Caches

pytestmark = pytest.mark.unit
assert main  # its import declares all metrics


class Replica:
    def __init__(self) -> None:
        self.reason = "the first list of pods is under way"


@pytest.fixture
def replica() -> Replica:
    return Replica()


@pytest.fixture
async def http(replica: Replica) -> AsyncIterator[aiohttp.ClientSession]:
    runner = web.AppRunner(application(lambda: replica.reason))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        yield session
    await runner.cleanup()


async def test_it_is_ready_when_nothing_speaks_against_it(replica: Replica, http: aiohttp.ClientSession) -> None:
    async with http.get("/readyz") as answer:
        assert (answer.status, await answer.text()) == (503, "the first list of pods is under way\n")
    replica.reason = ""
    async with http.get("/readyz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_it_lives_while_it_answers(http: aiohttp.ClientSession) -> None:
    async with http.get("/healthz") as answer:
        assert answer.status == 200


async def test_metrics_are_in_prometheus_format(http: aiohttp.ClientSession) -> None:
    async with http.get("/metrics") as answer:
        families = {family.name for family in text_string_to_metric_families(await answer.text())}
    assert {"agentsession_leading", "agentsession_reconcile_seconds", "agentsession_kube_requests"} <= families


def test_the_kinds_without_a_complete_list_are_named() -> None:
    caches = Caches()
    assert "agentsessions" in watches.not_synced(caches)
    for _, store, _ in watches.watched(caches):
        store.replace([], "1")
    assert watches.not_synced(caches) == ""
