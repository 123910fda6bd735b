"""The operator process: wiring only. Watches feed caches and queues; the Lease decides whether workers serve them."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import kopf

from agentsession import logs, surroundings, watches
from agentsession.api.conditions import FINISHED
from agentsession.api.installation import Installation
from agentsession.endpoints import HTTP_PORT, application, canary, serve
from agentsession.keyrings import ensure_keyrings
from agentsession.keys.keyring import Keyring
from agentsession.kube.cache import Store
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.elector import Elector
from agentsession.kube.events import EventRecorder
from agentsession.kube.objects import Key, KubeObject, controller_of, key_of
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, NAMESPACES, NETWORKPOLICIES, PODS, Resource
from agentsession.kube.resync import resync
from agentsession.kube.worker import work
from agentsession.kube.workqueue import Priority, WorkQueue
from agentsession.runners.client import RunnerClient, runner_http
from agentsession.runners.listeners import Listeners
from agentsession.sessions.act import Actor
from agentsession.sessions.controller import SessionController
from agentsession.sessions.observe import Observer
from agentsession.tenants.controller import TenantController
from agentsession.usage.meters import Meters

SESSION_WORKERS = 20
TENANT_WORKERS = 4
ROTATION_CHECK = timedelta(hours=1)

logger = logging.getLogger(__name__)


class Queues:
    """One queue per controller, and what a change of any watched object puts into them."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self.sessions = WorkQueue("sessions")
        self.tenants = WorkQueue("tenants")

    def changed(self) -> dict[Resource, watches.Changed]:
        """By watched kind: what to do when an object of it changed."""
        return {
            AGENTSESSIONS: self._session_changed,
            AGENTTENANTS: lambda body: self.tenants.add(key_of(body)),
            PODS: self._pod_changed,
            NETWORKPOLICIES: lambda body: self._add_tenants(key_of(body)[0]),
            NAMESPACES: lambda body: self._add_tenants(key_of(body)[1]),
        }

    def tenant_ready_changed(self, tenant: Key) -> None:
        """Sessions wait for their tenant: bring those back that have not finished."""
        for body in self._caches.sessions.in_namespace(tenant[0]):
            if body["spec"].get("tenantRef", {}).get("name", "default") == tenant[1] and not _finished(body):
                self.sessions.add(key_of(body))

    def _session_changed(self, body: KubeObject) -> None:
        self.sessions.add(key_of(body), Priority.NORMAL if body.get("status") else Priority.HIGH)

    def _pod_changed(self, body: KubeObject) -> None:
        owner = controller_of(body)
        if owner is not None and owner.get("kind") == AGENTSESSIONS.kind:
            self.sessions.add((key_of(body)[0], owner["name"]))

    def _add_tenants(self, namespace: str) -> None:
        for body in self._caches.tenants.in_namespace(namespace):
            self.tenants.add(key_of(body))


def _finished(session: KubeObject) -> bool:
    conditions = session.get("status", {}).get("conditions", [])
    return any(item["type"] == FINISHED and item["status"] == "True" for item in conditions)


async def run(install: Installation) -> None:
    """Run until SIGTERM or SIGINT; a process that loses the Lease ends at once instead."""
    stop = asyncio.Event()
    leading = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    connection = Connection.load()
    caches = Caches()
    queues = Queues(caches)
    elector = Elector(
        connection,
        (install.namespace, f"{install.name}-operator"),
        on_gained=lambda epoch: _in_loop(loop, leading.set, f"leading in epoch {epoch}"),
        on_lost=lambda: os._exit(1),  # another replica may already be writing
    )
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(connection.open())
        api = ApiClient(connection.server, http)
        await stack.enter_async_context(serve(application(lambda: _synced(caches)), HTTP_PORT))
        await stack.enter_async_context(canary(install.canary.port))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(_watch(connection, caches, queues, elector.identity, stop), name="kopf")]
        for resource, store, selector in watches.watched(caches):
            changed = _resynced(store, queues.changed()[resource])
            tasks.append(group.create_task(resync(api, resource, store, changed, label_selector=selector)))
        elector.start()
        tasks.append(group.create_task(_lead(api, install, caches, queues, elector, leading), name="lead"))
        await stop.wait()
        for task in tasks:
            task.cancel()
        elector.stop()


async def _watch(connection: Connection, caches: Caches, queues: Queues, identity: str, stop: asyncio.Event) -> None:
    registry = watches.registry(connection, connection.open(), caches, queues.changed())
    await kopf.operator(
        registry=registry,
        settings=watches.settings(caches),
        identity=identity,  # type: ignore[arg-type]  # unless told, kopf looks up a user name, and pods have none
        standalone=True,
        clusterwide=True,
        stop_flag=stop,
    )
    if not stop.is_set():
        raise RuntimeError("kopf's watches ended")


async def _lead(
    api: ApiClient, install: Installation, caches: Caches, queues: Queues, elector: Elector, leading: asyncio.Event
) -> None:
    """Wait for the Lease and for complete caches, then work until cancelled."""
    await leading.wait()
    while not _synced(caches):
        await asyncio.sleep(0.05)
    keys = _Keys(api, install, await ensure_keyrings(api, install))
    where = await surroundings.find(api, install)
    async with runner_http() as runner_session, asyncio.TaskGroup() as group:
        meters = Meters(
            runner_session,
            keys.current,
            install.egress.peers_url,
            session_changed=queues.sessions.add,
            tenant_changed=queues.tenants.add,
        )
        runners = RunnerClient(runner_session, keys.current)
        listeners = Listeners(runners, queues.sessions.add)
        recorder = EventRecorder(api)
        sessions = SessionController(
            api,
            caches,
            Observer(api, caches, listeners, meters, install, keys.current),
            Actor(api, caches, listeners, runners, install, where, keys.current, lambda: elector.epoch),
            listeners,
            meters,
            recorder,
            install,
        )
        tenants = TenantController(api, caches, meters, recorder, install, queues.tenant_ready_changed)
        await meters.pull()
        group.create_task(meters.run(), name="meters")
        group.create_task(recorder.run(), name="events")
        group.create_task(keys.rotate(), name="keys")
        for _ in range(SESSION_WORKERS):
            group.create_task(work("sessions", queues.sessions, sessions.reconcile))
        for _ in range(TENANT_WORKERS):
            group.create_task(work("tenants", queues.tenants, tenants.reconcile))


class _Keys:
    """The operator's keyring, kept fresh."""

    def __init__(self, api: ApiClient, install: Installation, keyring: Keyring) -> None:
        self._api = api
        self._install = install
        self._keyring = keyring

    def current(self) -> Keyring:
        return self._keyring

    async def rotate(self) -> None:
        while True:
            await asyncio.sleep(ROTATION_CHECK.total_seconds())
            self._keyring = await ensure_keyrings(self._api, self._install)


def _synced(caches: Caches) -> bool:
    return all(store.synced for _, store, _ in watches.watched(caches))


def _resynced(store: Store, changed: watches.Changed) -> Callable[[Key], None]:
    return lambda key: watches.concerned(store, key, changed)


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None], message: str) -> None:
    logger.info(message)
    loop.call_soon_threadsafe(call)


def main(config: Path) -> None:
    """Run the operator with the installation file at `config`."""
    logs.configure()
    asyncio.run(run(Installation.load(config)))
