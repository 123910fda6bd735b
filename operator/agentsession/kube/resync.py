"""Every few minutes, compare a Store with a complete list: an expired watch (410) never tells what it missed."""

import asyncio
import logging
import random

from agentsession.kube.cache import Changed, Store
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError
from agentsession.kube.objects import Key
from agentsession.kube.resource import Resource

INTERVAL = (300.0, 600.0)
"""Seconds between two lists of one kind, drawn anew each time so that kinds and replicas spread."""
FAILED_INTERVAL = (5.0, 10.0)
"""Seconds after a list that failed."""

logger = logging.getLogger(__name__)


async def resync(
    client: ApiClient,
    resource: Resource,
    store: Store,
    on_change: Changed,
    *,
    label_selector: str = "",
) -> None:
    """List at once, then again and again, for ever; call on_change for each object that the store had wrong."""
    while True:
        changed = await relist(client, resource, store, label_selector=label_selector, again=FAILED_INTERVAL[1])
        for key in changed or ():
            on_change(key, store.get(key))
        await asyncio.sleep(random.uniform(*(FAILED_INTERVAL if changed is None else INTERVAL)))  # noqa: S311


async def relist(
    client: ApiClient, resource: Resource, store: Store, *, label_selector: str, again: float
) -> set[Key] | None:
    """Compare once; the keys that the store had wrong, None if the list failed. again: seconds until the caller's next
    try, for the log."""
    try:
        found = await client.list(resource, label_selector=label_selector)
    except ApiError as error:
        logger.warning("Listing %s: %s. Tried again within %d s.", resource.plural, error, again)
        return None
    return store.replace(found.items, found.resource_version)
