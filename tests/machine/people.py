"""Moves of people, who create, change and delete. Each says by False that it was not possible just now."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from agentsession.api.session import AgentSession
from agentsession.kube.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from agentsession.kube.objects import Key
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS, CONFIGMAPS, NETWORKPOLICIES
from agentsession.resources.names import NETWORK_POLICY

from .places import COMMONS, NAMESPACE
from .world import SHARED, World, made_of, picked

NAMES = 16
"""Names for sessions: few, so that they are used again."""
NO_LIMITS: Mapping[str, object] = {}
PROMPT = "be kind"
"""A pool's system prompt, if it has one: what tells its two templates apart."""


async def create(
    world: World,
    number: int,
    *,
    lifecycle: str,
    tenant: str = "default",
    prompt: str = "inline",
    model: str = "",
    limits: Mapping[str, object] = NO_LIMITS,
    ttl: int | None = None,
    pool: str = "",
    exhausted: str = "Wait",
    namespace: str = NAMESPACE,
) -> bool:
    """People create sessions, each with prompts that are nobody else's. model: "" leaves the agent to the pool."""
    used = {session.metadata.name for session in world.history.sessions}
    free = [name for i in range(NAMES) if (name := f"s{i}") not in used]
    for name in free[:number]:
        text = f"{name}, session {next(world.numbers)}"
        spec: dict[str, Any] = {
            "tenantRef": {"name": tenant},
            "lifecycle": lifecycle,
            "limits": limits,
        }
        if pool:
            place = {"namespace": COMMONS} if pool == SHARED else {}
            spec["poolRef"] = {"name": pool, "onExhausted": exhausted, **place}
        if model or not pool:
            spec["agent"] = {"model": model or "m"}
        if prompt == "inline":
            spec["prompt"] = text
        else:
            key = text.replace(", session ", "-")
            world.prompts[key] = text
            spec["promptFrom"] = {"configMapKeyRef": {"name": prompt, "key": key}}
        if ttl is not None:
            spec["ttlSecondsAfterFinished"] = ttl
        with suppress(AlreadyExistsError):  # the history is a moment behind
            await world.api.create(AGENTSESSIONS, made_of("AgentSession", (namespace, name), spec))
    if "there" in world.maps:
        await _put_prompts(world)
    return bool(free)


async def _put_prompts(world: World) -> None:
    metadata = {"name": "there", "namespace": NAMESPACE}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": world.prompts}
    await world.api.apply(CONFIGMAPS, body)


async def follow_up(world: World, pick: int, number: int) -> bool:
    """People go on talking."""
    lasting = [session for session in world.sessions() if session.spec.lifecycle == "LongRunning"]
    if (session := picked(pick, lasting)) is None:
        return False
    asked = [item.model_dump() for item in session.spec.follow_ups]
    for _ in range(number):
        n = next(world.numbers)
        asked.append({"id": f"f{n}", "prompt": f"{session.metadata.name}, follow-up {n}"})
    return await _patch(world, session.key, {"followUps": asked})


async def limit(world: World, pick: int, limits: dict[str, Any]) -> bool:
    """People change limits."""
    session = picked(pick, [*world.sessions()])
    return session is not None and await _patch(world, session.key, {"limits": limits})


async def suspend(world: World, pick: int, wanted: bool) -> bool:
    """People suspend and resume."""
    session = picked(pick, [each for each in world.sessions() if each.spec.suspend != wanted])
    return session is not None and await _patch(world, session.key, {"suspend": wanted})


async def _patch(world: World, key: tuple[str, str], spec: dict[str, Any]) -> bool:
    try:
        await world.api.merge_patch(AGENTSESSIONS, key, {"spec": spec})
    except ApiError:  # gone, or not allowed
        return False
    return True


async def delete(world: World, pick: int, number: int) -> bool:
    """People delete sessions."""
    for i in range(number):
        if (session := picked(pick + i, [*world.sessions()])) is None:
            return False
        await dismiss(world, session)
    return True


async def dismiss(world: World, session: AgentSession) -> None:
    world.history.dismissed.add(session.metadata.uid)
    with suppress(NotFoundError, ConflictError):
        await world.api.delete(AGENTSESSIONS, session.key, uid=session.metadata.uid)


async def configure(world: World, what: str, tenant: Key, place: str, most: int) -> None:
    """The platform's people. place: the namespace of the NetworkPolicy."""
    match what:
        case "tenant comes":
            await world.tenant(tenant, most)
        case "tenant goes":
            with suppress(NotFoundError):
                await world.api.delete(AGENTTENANTS, tenant)
        case "policy goes":
            with suppress(NotFoundError):
                await world.api.delete(NETWORKPOLICIES, (place, NETWORK_POLICY))
        case "policy changes":
            with suppress(NotFoundError):
                wide: dict[str, Any] = {"spec": {"egress": [{}]}}
                await world.api.merge_patch(NETWORKPOLICIES, (place, NETWORK_POLICY), wide)
        case "map comes":
            await _put_prompts(world)
            world.maps.add("there")
        case "map goes":
            with suppress(NotFoundError):
                await world.api.delete(CONFIGMAPS, (NAMESPACE, "there"))
            world.maps.discard("there")


async def pool(
    world: World, what: str, name: str, replicas: int, scaling: dict[str, Any], prompt: str, rush: int
) -> bool:
    """People make pools, change and delete them. rush: sessions that come for one at the same moment."""
    if rush:
        await create(world, rush, lifecycle="LongRunning", pool=name)
    known = next((each for each in world.history.pools.all if each.metadata.name == name), None)
    if what == "comes":
        await world.pool(name, replicas, prompt, **scaling)
        return True
    if known is None:
        return False
    match what:
        case "scales":
            await world.api.merge_patch(AGENTPOOLS, known.key, {"spec": {"replicas": replicas}})
        case "rolls out":
            agent = {"agent": {"systemPrompt": prompt or None}}
            await world.api.merge_patch(AGENTPOOLS, known.key, {"spec": {"template": agent}})
        case "goes":
            await world.api.delete(AGENTPOOLS, known.key, uid=known.metadata.uid)
    return True
