"""The elector's thread, and Events, against a real API server."""

import asyncio
import threading
import time

import pytest

from agentsession.kube import lease
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.elector import Elector
from agentsession.kube.events import EventRecorder
from agentsession.kube.lease import DEADLINE, SHORTEST
from agentsession.kube.objects import KubeObject, uid_of
from agentsession.kube.resource import CONFIGMAPS, EVENTS, LEASES
from tests.kube.faults import Fault, Rule
from tests.kube.proxy import running

pytestmark = pytest.mark.apiserver

HELD = DEADLINE * SHORTEST


class Replica:
    """An elector and what it said."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self.gained = threading.Event()
        self.lost = threading.Event()
        self.elector = Elector(
            connection,
            (namespace, "operator"),
            on_gained=lambda *_: self.gained.set(),
            on_lost=self.lost.set,
        )
        self.elector.start()

    async def leads(self, seconds: float = 5.0) -> bool:
        return await asyncio.to_thread(self.gained.wait, seconds)


async def test_one_leads_and_hands_over(connection: Connection, api: ApiClient, namespace: str) -> None:
    one = Replica(connection, namespace)
    assert await one.leads()
    other = Replica(connection, namespace)
    lease = await api.get(LEASES, (namespace, "operator"))
    assert lease["spec"]["holderIdentity"] == one.elector.identity
    assert lease["spec"]["leaseTransitions"] == one.elector.epoch == 1
    time.sleep(HELD + 0.5)  # noqa: ASYNC251 the main loop hangs longer than a leader may go without renewing
    assert one.elector.is_leader
    assert not other.elector.is_leader
    await asyncio.to_thread(one.elector.stop)
    assert not one.elector.is_leader
    assert not one.lost.is_set(), "a release is no loss"
    assert await other.leads(2.0), "it waited for the Lease to run out"
    assert other.elector.epoch == 2
    await asyncio.to_thread(other.elector.stop)


async def test_a_leader_without_an_api_server_is_lost_in_time(connection: Connection, namespace: str) -> None:
    async with running(connection) as (proxy, url):
        one = Replica(Connection(url, None, lambda: None), namespace)
        assert await one.leads()
        proxy.flowing.clear()
        cut = time.monotonic()
        assert await asyncio.to_thread(one.lost.wait, HELD + 2)
        assert time.monotonic() - cut < HELD + 0.5
        assert not one.elector.is_leader
        proxy.flowing.set()
        one.elector.stop()


async def test_a_server_that_takes_two_seconds_for_each_answer_has_a_leader_that_stays(
    connection: Connection, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(connection) as (proxy, url):
        proxy.rules.append(Rule(Fault(delay=2.0, lose="nothing"), resources={"leases"}))
        slow = Connection(url, None, lambda: None)
        with monkeypatch.context() as always_short:
            always_short.setattr(lease, "LONGEST", SHORTEST)
            without = Replica(slow, namespace)
            assert not await without.leads(HELD + 2), "the attack"
            await asyncio.to_thread(without.elector.stop)
        one = Replica(slow, namespace)
        assert await one.leads(20.0)
        assert not await asyncio.to_thread(one.lost.wait, HELD + 2)
        assert one.elector.is_leader
        await asyncio.to_thread(one.elector.stop)


async def test_events_are_found_with_their_object(api: ApiClient, namespace: str) -> None:
    about = await api.create(
        CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "a"}}
    )
    recorder = EventRecorder(api)
    task = asyncio.create_task(recorder.run())
    recorder.record(about, "Warning", "Failed", "It\ndoes not run.")
    recorder.record(about, "Warning", "Failed", "It does not run.")
    recorder.record(about, "Normal", "Started", "It runs.")
    found: list[KubeObject] = []
    async for event in api.watch(EVENTS, namespace=namespace, resource_version="0", seconds=10):
        if event is not None and event["type"] == "ADDED":
            found.append(event["object"])
        if len(found) == 2:
            break
    task.cancel()
    assert [(obj["reason"], obj["note"]) for obj in found] == [("Failed", "It does not run."), ("Started", "It runs.")]
    assert {obj["regarding"]["uid"] for obj in found} == {uid_of(about)}
