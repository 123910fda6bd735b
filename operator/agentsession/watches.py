"""What is watched, and by whom: kopf's streams feed the caches of what people configure, Reflectors the busy kinds.

A change brings what it concerns into a queue, and nothing else. A session and its pod change a score of times in a
short life; kopf's task and handler for each would cost as much as everything else that the operator does for them.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import kopf

from agentsession.kube.cache import Changed, Store
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.login import kopf_credentials
from agentsession.kube.objects import KubeObject, key_of
from agentsession.kube.resource import (
    AGENTPOOLS,
    AGENTSESSIONS,
    AGENTTENANTS,
    NAMESPACES,
    NETWORKPOLICIES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    SERVICEACCOUNTS,
    Resource,
)
from agentsession.kube.resync import relist, resync
from agentsession.kube.watch import Reflector
from agentsession.resources.names import RUNNER_LABEL

OURS = f"{RUNNER_LABEL}=true"
BY_REFLECTOR = (AGENTSESSIONS, AGENTPOOLS, PODS)
RELIST_PAUSE = 1.0
"""Seconds after a list that failed."""


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf keeps no last-seen state on objects: reconciling is level-triggered here."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})  # the default copies the whole object, for a comparison with what is not stored

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """kopf keeps no handler progress on objects: the work queue retries."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def watched(caches: Caches) -> list[tuple[Resource, Store, str]]:
    """Every kind that is watched, its cache, and the label selector that the server filters by."""
    return [
        (AGENTSESSIONS, caches.sessions, ""),
        (AGENTPOOLS, caches.pools, ""),
        (AGENTTENANTS, caches.tenants, ""),
        (PODS, caches.pods, OURS),
        (NETWORKPOLICIES, caches.policies, ""),
        (SERVICEACCOUNTS, caches.accounts, OURS),
        (PERSISTENTVOLUMECLAIMS, caches.claims, OURS),
        (NAMESPACES, caches.namespaces, ""),
    ]


def settings(caches: Caches) -> kopf.OperatorSettings:
    """kopf writes nothing, discovers nothing, posts nothing, and lists only what the selectors admit."""
    made = kopf.OperatorSettings()
    made.scanning.disabled = True
    made.posting.enabled = False
    made.persistence.diffbase_storage = _NoDiffs()
    made.persistence.progress_storage = _NoProgress()
    made.networking.request_timeout = 30
    for resource, _, selector in watched(caches):
        if selector:
            made.watching.label_selectors[resource.plural] = selector
    return made


def registry(connection: Connection, caches: Caches, changed: dict[Resource, Changed]) -> kopf.OperatorRegistry:
    """The handlers: one to log in, one event handler per kind."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    async def login(**_: Any) -> kopf.AiohttpSession:
        # A session of kopf's own: it closes the one that it has before it logs in again.
        return kopf_credentials(connection, connection.open())

    for resource, store, _ in watched(caches):
        if resource not in BY_REFLECTOR:
            _feed(made, resource, store, changed[resource])
    return made


def reflectors(api: ApiClient, caches: Caches, changed: dict[Resource, Changed]) -> list[Reflector]:
    """The busy kinds' own watches."""
    return [
        Reflector(api, resource, store, label_selector=selector, on_change=changed[resource])
        for resource, store, selector in watched(caches)
        if resource in BY_REFLECTOR
    ]


def resyncs(api: ApiClient, caches: Caches, changed: dict[Resource, Changed]) -> Iterator[Coroutine[None, None, None]]:
    """For each of kopf's kinds, a list now and then, for ever."""
    for resource, store, selector in watched(caches):
        if resource not in BY_REFLECTOR:
            yield resync(api, resource, store, changed[resource], label_selector=selector)


def not_synced(caches: Caches) -> str:
    """The kinds of which no complete list has been seen; empty if all are known."""
    return ", ".join(resource.plural for resource, store, _ in watched(caches) if not store.synced)


async def catch_up(api: ApiClient, caches: Caches) -> None:
    """For who begins to lead: know all that decisions are made from as it is now.

    Watches are behind each other, and one that hangs tells of nothing for half a minute. A pod that is not known is a
    runner lost, or a free slot; of a tenant that is not known people are told that it is missing. Sessions and
    AgentPools may come late: nothing is done for them until then.
    """

    async def know(resource: Resource, store: Store, selector: str) -> None:
        while await relist(api, resource, store, label_selector=selector, again=RELIST_PAUSE) is None:
            await asyncio.sleep(RELIST_PAUSE)

    await asyncio.gather(*(know(*kind) for kind in watched(caches) if kind[0] not in (AGENTSESSIONS, AGENTPOOLS)))


def _feed(made: kopf.OperatorRegistry, resource: Resource, store: Store, changed: Changed) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=made, id=resource.plural)
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        body: KubeObject = event["object"]
        if store.observe(event["type"], body):
            changed(key_of(body), body)
