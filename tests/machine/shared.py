"""A shared pool: sessions of two namespaces claim its runners, which stay in a third. Pool and tenants must agree."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import Key
from agentsession.kube.resource import AGENTPOOLS, AGENTTENANTS

from . import people
from .places import COMMONS, NAMESPACE
from .world import SHARED, World

ALL: Mapping[str, Any] = {}
PEOPLE: Mapping[str, Any] = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
"""Selectors of namespaces."""


async def come(world: World, home: str, tenant: str, lifecycle: str, exhausted: str, number: int) -> bool:
    """People create sessions that ask for one of its runners."""
    return await people.create(
        world, number, lifecycle=lifecycle, tenant=tenant, pool=SHARED, exhausted=exhausted, namespace=home
    )


async def change(
    world: World, what: str, replicas: int, scaling: dict[str, Any], prompt: str, admits: Mapping[str, Any]
) -> bool:
    """Whoever shares it makes, changes or deletes it."""
    if what == "comes":
        await world.pool(SHARED, replicas, prompt, admits, **scaling)
        return True
    if what != "admits":
        return await people.pool(world, what, SHARED, replicas, scaling, prompt, rush=0)
    selects = {"allowedNamespaces": {"selector": {"matchLabels": None, **admits}}}
    with suppress(NotFoundError):
        await world.api.merge_patch(AGENTPOOLS, (COMMONS, SHARED), {"spec": selects})
        return True
    return False


async def consent(world: World, tenant: Key, given: bool) -> bool:
    """A tenant lets its sessions' runners be there, or no longer."""
    namespaces = {"sharedPools": {"namespaces": [COMMONS] if given else []}}
    with suppress(NotFoundError):
        await world.api.merge_patch(AGENTTENANTS, tenant, {"spec": namespaces})
        return True
    return False
