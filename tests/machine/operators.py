"""Replicas of the operator in this process: each with connection, caches, queues and candidacy of its own.

What ships is what runs: `Leader`, `Queues`, `Caches`, `Election`, and Reflectors in kopf's place. A replica can die at
any moment (its sockets first, so that nothing is tidied up), and it can go on as leader after it has lost its Lease.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from agentsession.keys.keyring import Keyring
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.lease import RENEW, Election
from agentsession.kube.objects import Key
from agentsession.kube.watch import Reflector
from agentsession.leader import Leader
from agentsession.queues import Queues
from agentsession.runners.client import runner_http
from agentsession.sessions.epoch import next_epoch
from agentsession.watches import catch_up, watched
from tests.sessions.build import INSTALL
from tests.sessions.inprocess import SURROUNDINGS

from .apiserver import ApiServer
from .clock import OWNER, Clock, SimulatedLoop
from .places import COMMONS
from .way import Way

INSTALLED = INSTALL.model_copy(update={"shared_pool_namespaces": [COMMONS]})
LATENCY = 0.03
"""Seconds at most from a replica to the API server, and back."""


@dataclass
class Surrounding:
    """What all replicas share."""

    loop: SimulatedLoop
    clock: Clock
    server: ApiServer
    api: ApiClient
    """The administrator's, for the Lease: its faults have a test of their own (tests/kube/test_lease.py)."""
    lease: Key
    keyring: Keyring
    peers: Callable[[], list[str]]


class Operator:
    """One replica."""

    def __init__(self, name: str, around: Surrounding) -> None:
        self.name = name
        self.caches = Caches()
        self.queues = Queues(self.caches)
        self.leader: Leader | None = None
        self.way = Way(around.server, latency=LATENCY, name=name)
        self.born = around.loop.time()
        self.election = Election(around.lease, name, around.clock.lease_now)
        self._around = around
        self._gained = asyncio.Event()
        self._campaign: asyncio.Task[bool] | None = None
        self._main: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        """Whether it acts as leader, rightly or not."""
        return self._gained.is_set()

    @property
    def dead(self) -> bool:
        """Whether its process has ended by itself: its sockets were cut, or it lost the Lease."""
        return self.way.crashed.is_set() or (self._campaign is not None and self._campaign.done())

    @property
    def frozen(self) -> bool:
        """Whether its election thread hangs."""
        return self._campaign is None

    async def start(self) -> None:
        """Begin to watch and to campaign."""
        owner = OWNER.set(self.name)
        try:
            self._campaign = asyncio.create_task(
                self.election.run(self._around.api, asyncio.Event(), lambda _: self._gained.set())
            )
            self._main = asyncio.create_task(self._run())
        finally:
            OWNER.reset(owner)

    def freeze(self) -> None:
        """Let its election hang: it goes on working, and does not notice that it leads no more."""
        assert self._campaign is not None
        self._campaign.cancel()
        self._campaign = None

    async def kill(self) -> None:
        """As kill -9: not one byte more gets out."""
        self.way.crash_at(0, lose="request")
        for task in self._around.loop.tasks_of(self.name):
            task.cancel()
        await self._end()

    async def stop(self) -> list[str]:
        """As SIGTERM. Returns the tasks that are left, of which there must be none."""
        await self._end()
        for _ in range(3):
            await asyncio.sleep(0)
        left = self._around.loop.tasks_of(self.name)
        for task in left:
            task.cancel()
        return [repr(task.get_coro()) for task in left]

    async def _end(self) -> None:
        tasks = [task for task in (self._campaign, self._main) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        around, changed = self._around, self.queues.changed()
        async with aiohttp.ClientSession() as http, runner_http() as runners:
            api = self.way.client()
            async with asyncio.TaskGroup() as group:
                for resource, store, selector in watched(self.caches):
                    feed = Reflector(api, resource, store, label_selector=selector, on_change=changed[resource])
                    group.create_task(feed.run())
                await self._gained.wait()
                while not all(store.synced for _, store, _ in watched(self.caches)):
                    await asyncio.sleep(0.05)
                await catch_up(api, self.caches)

                async def peers(_: str) -> list[str]:
                    return around.peers()

                self.leader = Leader(
                    api,
                    INSTALLED,
                    self.caches,
                    self.queues,
                    runners,
                    http,
                    SURROUNDINGS,
                    keyring=lambda: around.keyring,
                    epoch=next_epoch(self.election.epoch, self.caches.pods, around.keyring.jwks()),
                    leading=lambda: self.election.is_leader,
                    resolve=peers,
                    now=around.clock.operators_now,
                )
                await self.leader.run()


async def elect(replicas: list[Operator]) -> Operator | None:
    """Wait until one of the replicas leads; None if none can."""
    while candidates := [replica for replica in replicas if not replica.frozen and not replica.dead]:
        for replica in candidates:
            if replica.leads:
                return replica
        await asyncio.sleep(RENEW)
    return None
