"""A burst of sessions on pools that have fewer runners: what must be true of it, whoever led meanwhile."""

import asyncio
from collections.abc import Set
from datetime import datetime

from agentsession.api.base import API_VERSION
from agentsession.kube.objects import Key
from agentsession.kube.resource import AGENTPOOLS

from .world import MODEL, NAMESPACES, World

POOL = "pool"
WAITS = {"poolRef": {"name": POOL, "onExhausted": "Wait"}}
"""What a session of the burst asks for."""


async def fill(made: World, runners: int) -> None:
    """A pool of so many in each namespace."""
    for namespace in NAMESPACES:
        metadata = {"namespace": namespace, "name": POOL}
        spec = {"replicas": runners, "template": {"agent": {"model": MODEL}}}
        body = {"apiVersion": API_VERSION, "kind": AGENTPOOLS.kind, "metadata": metadata, "spec": spec}
        await made.api.create(AGENTPOOLS, body)
    await filled(made, runners)


async def filled(made: World, runners: int, seconds: float = 300.0) -> None:
    """Wait until each pool has them ready."""
    async with asyncio.timeout(seconds):
        while any(
            pool.get("status", {}).get("readyReplicas", 0) < runners for pool in (await made.api.list(AGENTPOOLS)).items
        ):
            await asyncio.sleep(0.2)


async def empty(made: World) -> None:
    """Delete the pools."""
    for namespace in NAMESPACES:
        await made.api.delete(AGENTPOOLS, (namespace, POOL))


def check(made: World, keys: list[Key], earlier: Set[str] = frozenset()) -> None:
    """All are Ready: each was served by one runner that served nobody else and was asked once.

    earlier: pods whose agents were there before.
    """
    uids = {made.sessions[key]["metadata"]["uid"] for key in keys}
    serving = {uid: pod for pod, uid in made.pods.items() if uid in uids}
    assert made.served_once(keys)
    assert {made.sessions[key]["status"]["startType"] for key in keys} == {"Warm"}
    asked = {pod: agent.asked for pod, agent in made.runners.agents.items() if agent.asked and pod not in earlier}
    assert asked == {pod: ["hello"] for pod in serving.values()}


def out_of_turn(made: World, keys: list[Key]) -> int:
    """How many places anybody who waited was served after his turn, at most."""
    late = 0
    for namespace in NAMESPACES:
        status = [made.sessions[key]["status"] for key in keys if key[0] == namespace]
        waited = [item for item in status if "ticket" in item]
        waited.sort(key=lambda item: datetime.fromisoformat(item["timings"]["claimed"]))
        tickets = [item["ticket"] for item in waited]
        order = sorted(tickets)
        assert len(set(tickets)) == len(tickets)
        late = max([late, *(place - order.index(ticket) for place, ticket in enumerate(tickets))])
    return late
