"""What the leading operator does: the controllers, and what they share, for one term. main decides when it begins."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp

from agentsession.api.installation import Installation
from agentsession.keys.keyring import Keyring
from agentsession.keys.seals import Seals
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.events import EventRecorder
from agentsession.kube.objects import Key
from agentsession.kube.shards import ALL, Shard
from agentsession.kube.worker import work
from agentsession.pools import act as pools_act
from agentsession.pools import observe as pools_observe
from agentsession.pools.claimed import ClaimedController
from agentsession.pools.controller import PoolController
from agentsession.pools.observed import Refused
from agentsession.queues import Queues
from agentsession.resources.surroundings import Surroundings
from agentsession.runners.client import RunnerClient
from agentsession.runners.listeners import Listeners
from agentsession.runners.podview import Views
from agentsession.runners.premises import Premises
from agentsession.runners.tickets import Tickets
from agentsession.sessions.act import Actor
from agentsession.sessions.controller import SessionController
from agentsession.sessions.observe import Observer
from agentsession.sessions.slots import Slot
from agentsession.tenants.controller import TenantController
from agentsession.usage.meters import Meters, Resolve, resolve_peers

SESSION_WORKERS = 20
POOL_WORKERS = 4
CLAIMED_WORKERS = 4
TENANT_WORKERS = 4


class Leader:
    """One term. It begins with nothing but the caches: all state is in objects, in runners and in the egress plane.

    leading: whether nobody else can lead now; asked before what must not be done twice.
    runners: for calls to runners, who are not trusted; see runner_http. egress: for calls to egress processes.
    resolve, now: as they are but in tests.
    """

    def __init__(
        self,
        api: ApiClient,
        install: Installation,
        caches: Caches,
        queues: Queues,
        runners: aiohttp.ClientSession,
        egress: aiohttp.ClientSession,
        surroundings: Surroundings,
        *,
        keyring: Callable[[], Keyring],
        epoch: int,
        shard: Shard = ALL,
        leading: Callable[[], bool],
        resolve: Resolve = resolve_peers,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._queues = queues
        self._recorder = EventRecorder(api)
        self.meters = Meters(
            egress,
            keyring,
            install.egress.peers_url,
            shard=shard,
            session_changed=queues.sessions.add,
            tenant_changed=queues.tenants.add,
            process_gone=queues.egress_gone,
            resolve=resolve,
            now=now,
        )
        client = RunnerClient(runners, keyring)
        self.listeners = Listeners(client, queues.sessions.add)
        views = self._views = Views(Seals(lambda: keyring().jwks()))
        caches.pods.gone = views.forget
        starting: set[Slot] = set()
        claimed: set[str] = set()
        self.sessions = SessionController(
            api,
            caches,
            Observer(
                api,
                caches,
                self.listeners,
                self.meters,
                install,
                surroundings,
                views,
                starting,
                claimed,
                Tickets(caches, epoch),
            ),
            Actor(
                api,
                caches,
                self.listeners,
                client,
                install,
                surroundings,
                keyring,
                epoch,
                starting,
                claimed,
                queues.runner_taken,
                now,
            ),
            self.listeners,
            self.meters,
            self._recorder,
            install,
            leading,
            queues.line_changed,
            now,
        )
        premises = Premises(api, caches, install)
        refused: dict[Key, Refused] = {}
        self.pools = PoolController(
            api,
            caches,
            pools_observe.Observer(
                caches, install, surroundings, views, refused, claiming=lambda: {slot.pod for slot in starting}
            ),
            pools_act.Actor(api, caches, install, surroundings, keyring, queues.runner_changed),
            premises,
            self._recorder,
            install,
            refused,
            leading,
            busy=lambda: len(queues.sessions) > 0,
            now=now,
        )
        self.claimed = ClaimedController(api, caches, views, premises)
        self.tenants = TenantController(
            api, caches, self.meters, self._recorder, premises, install, queues.tenant_changed
        )

    async def run(self) -> None:
        """Serve the queues until cancelled."""
        try:
            await self.meters.pull()
            self._queues.open(self._views)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.meters.run(), name="meters")
                group.create_task(self._recorder.run(), name="events")
                for _ in range(SESSION_WORKERS):
                    group.create_task(work("sessions", self._queues.sessions, self.sessions.reconcile))
                for _ in range(POOL_WORKERS):
                    group.create_task(work("pools", self._queues.pools, self.pools.reconcile))
                for _ in range(CLAIMED_WORKERS):
                    group.create_task(work("claimed", self._queues.claimed, self.claimed.reconcile))
                for _ in range(TENANT_WORKERS):
                    group.create_task(work("tenants", self._queues.tenants, self.tenants.reconcile))
        finally:
            await self.listeners.close()
