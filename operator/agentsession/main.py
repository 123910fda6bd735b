"""The operator process: wiring only. Watches feed caches and queues; the Lease decides whether workers serve them."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import aiohttp
import kopf
from prometheus_client import REGISTRY, Gauge

from agentsession import surroundings, watches
from agentsession.api.installation import Installation
from agentsession.endpoints import application, canary, serve
from agentsession.keyrings import keyring
from agentsession.keys.keyring import Keyring
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.elector import Elector
from agentsession.kube.errors import ApiError
from agentsession.kube.shards import Shard
from agentsession.kube.watch import Reflector
from agentsession.leader import Leader
from agentsession.memory import give_back
from agentsession.queues import Queues
from agentsession.runners.client import runner_http
from agentsession.sessions.epoch import next_epoch
from agentsession.sessions.metrics import Phases
from agentsession_runner import logs

ROTATION_CHECK = timedelta(hours=1)
MAX_SILENCE = 20.0
"""Seconds; a watch is opened anew every few seconds, and each opening is an answer."""

_LEADING = Gauge("agentsession_leading", "1 in the replica that leads.")
logger = logging.getLogger(__name__)


async def run(install: Installation, http_port: int) -> None:
    """Run until SIGTERM or SIGINT; a process that loses the Lease ends at once instead."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    leading: asyncio.Future[Shard] = loop.create_future()
    connection = Connection.load()
    caches = Caches()
    queues = Queues(caches)
    elector = Elector(
        connection,
        (install.namespace, f"{install.name}-operator"),
        install.shards,
        on_gained=lambda shard, epoch: _in_loop(loop, partial(leading.set_result, shard), _said(shard, epoch)),
        on_lost=lambda: os._exit(1),  # another replica may already be writing
    )
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(connection.open())
        api = ApiClient(connection.server, http)
        reflectors = watches.reflectors(api, caches, queues.changed())
        await stack.enter_async_context(serve(application(lambda: _not_ready(caches, reflectors)), http_port))
        await stack.enter_async_context(canary(install.canary.port))
        REGISTRY.register(Phases(caches.sessions, leading.done))
        elector.start()
        stack.callback(elector.stop)  # the next leader begins when all work here has ended
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(_watch(connection, caches, queues, elector.identity, stop), name="kopf")]
        feeds = [*watches.resyncs(api, caches, queues.changed()), *(reflector.run() for reflector in reflectors)]
        tasks += [group.create_task(feed, name="feed") for feed in feeds]
        tasks.append(group.create_task(give_back(caches.count), name="memory"))
        tasks.append(group.create_task(_lead(api, install, caches, queues, elector, leading), name="lead"))
        await stop.wait()
        for task in tasks:
            task.cancel()


async def _watch(connection: Connection, caches: Caches, queues: Queues, identity: str, stop: asyncio.Event) -> None:
    """Feed the caches until cancelled. `stop` is set by SIGTERM and SIGINT."""
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=watches.registry(connection, caches, queues.changed()),
        settings=watches.settings(caches),
        identity=identity,  # type: ignore[arg-type]  # unless told, kopf looks up a user name, and pods have none
        standalone=True,
        clusterwide=True,
    )
    # kopf has taken the signals; on one it would give all tasks 5 s to end, the workers among them, which go on.
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await kopf.run_tasks(tasks, ignored=others)
    raise RuntimeError("kopf's watches ended")


async def _lead(
    api: ApiClient,
    install: Installation,
    caches: Caches,
    queues: Queues,
    elector: Elector,
    leading: asyncio.Future[Shard],
) -> None:
    """Wait for the Lease and for complete caches, then work until cancelled."""
    shard = await asyncio.shield(leading)
    _LEADING.set(1)
    if shard.count > 1:
        caches.keep_only(shard.owns)
    while watches.not_synced(caches):
        await asyncio.sleep(0.05)
    await watches.catch_up(api, caches)
    keys = _Keys(api, install, shard, await keyring(api, install, shard))
    where = await surroundings.find(api, install)
    epoch = next_epoch(elector.epoch, caches.pods, keys.current().jwks())
    async with runner_http() as runners, aiohttp.ClientSession() as egress, asyncio.TaskGroup() as group:
        leader = Leader(
            api,
            install,
            caches,
            queues,
            runners,
            egress,
            where,
            keyring=keys.current,
            epoch=epoch,
            shard=shard,
            leading=lambda: elector.is_leader,
        )
        group.create_task(keys.rotate(), name="keys")
        group.create_task(leader.run(), name="leader")


class _Keys:
    """The operator's keyring, kept fresh."""

    def __init__(self, api: ApiClient, install: Installation, shard: Shard, keyring: Keyring) -> None:
        self._api = api
        self._install = install
        self._shard = shard
        self._keyring = keyring

    def current(self) -> Keyring:
        return self._keyring

    async def rotate(self) -> None:
        while True:
            await asyncio.sleep(ROTATION_CHECK.total_seconds())
            try:
                self._keyring = await keyring(self._api, self._install, self._shard)
            except ApiError as error:
                logger.warning("the signing keys could not be checked, tried again in an hour: %s", error)


def _not_ready(caches: Caches, reflectors: Sequence[Reflector]) -> str:
    """Why this replica could not lead now; empty if it could."""
    if missing := watches.not_synced(caches):
        return f"the first list of {missing} is under way"
    silence = max(reflector.silence() for reflector in reflectors)
    return f"the API server has not been heard for {silence:.0f} s" if silence > MAX_SILENCE else ""


def _said(shard: Shard, epoch: int) -> str:
    part = f"shard {shard.number} of {shard.count}, " if shard.count > 1 else ""
    return f"leading: {part}epoch {epoch}"


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None], message: str) -> None:
    logger.info(message)
    loop.call_soon_threadsafe(call)


def main(install: Installation, http_port: int) -> None:
    """Run the operator of that installation until SIGTERM or SIGINT."""
    logs.configure()
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it has a line for each event
    gc.freeze()  # what was imported stays: a full collection that looks through it takes a tenth of a second
    asyncio.run(run(install, http_port))
