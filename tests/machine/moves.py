"""The moves of people, nodes, networks and operators. Each says by False that it was not possible just now."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from agentsession.api.base import API_VERSION, is_true
from agentsession.api.conditions import FINISHED
from agentsession.api.session import AgentSession
from agentsession.kube.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from agentsession.kube.objects import Key, key_of, owner_uid, uid_of
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS, CONFIGMAPS, NETWORKPOLICIES, PODS
from agentsession.resources.names import NETWORK_POLICY
from tests.kube.faults import Fault, Lose, Rule

from .objects import gated
from .places import COMMONS, NAMESPACE
from .podstatus import FAILURES
from .runner import Runner
from .world import SHARED, World

NAMES = 16
"""Names for sessions: few, so that they are used again."""
FEWEST = 3
"""Unfinished sessions that there always are."""
REPLICAS = 3
MOMENT = 0.1
"""Seconds that each step takes, without anybody waiting for them."""
LONG = 10
"""Seconds; longer times pass at once."""
TROUBLE_STEPS = 20
PROMPT = "be kind"
"""A pool's system prompt, if it has one: what tells its two templates apart."""
FAULTS = {
    "conflicts": Fault(409, body='{"kind":"Status","reason":"Conflict","code":409}'),
    "is overloaded": Fault(429, headers={"Retry-After": "1"}),
    "fails": Fault(500),
    "is slow": Fault(delay=0.5, lose="nothing"),
    "hangs": Fault(delay=8, lose="nothing"),
    "loses requests": Fault(lose="request"),
    "loses answers": Fault(lose="answer"),
}
WRITES = ("create", "update", "patch", "delete")
PLACES = {
    "everywhere": Rule(Fault(), probability=0.2),
    "at writes": Rule(Fault(), verbs=WRITES, probability=0.5),
    "at statuses": Rule(Fault(), verbs=WRITES, resources={"agentsessions/status"}, probability=0.7),
    "at pods": Rule(Fault(), verbs=WRITES, resources={"pods"}, probability=0.7),
}
T = TypeVar("T")


def _pick(pick: int, things: list[T]) -> T | None:
    return things[pick % len(things)] if things else None


async def create(
    world: World,
    number: int,
    *,
    lifecycle: str,
    tenant: str,
    prompt: str,
    model: str,
    limits: object,
    ttl: int | None,
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
            await world.api.create(AGENTSESSIONS, _session((namespace, name), spec))
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
    if (session := _pick(pick, lasting)) is None:
        return False
    asked = [item.model_dump() for item in session.spec.follow_ups]
    for _ in range(number):
        n = next(world.numbers)
        asked.append({"id": f"f{n}", "prompt": f"{session.metadata.name}, follow-up {n}"})
    return await _patch(world, session.key, {"followUps": asked})


async def limit(world: World, pick: int, limits: dict[str, Any]) -> bool:
    """People change limits."""
    session = _pick(pick, [*world.sessions()])
    return session is not None and await _patch(world, session.key, {"limits": limits})


async def suspend(world: World, pick: int, wanted: bool) -> bool:
    """People suspend and resume."""
    session = _pick(pick, [each for each in world.sessions() if each.spec.suspend != wanted])
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
        if (session := _pick(pick + i, [*world.sessions()])) is None:
            return False
        await _dismiss(world, session)
    return True


async def _dismiss(world: World, session: AgentSession) -> None:
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
        plain: dict[str, Any] = {"tenant": "default", "prompt": "inline", "model": "", "limits": {}, "ttl": None}
        await create(world, rush, lifecycle="LongRunning", pool=name, **plain)
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


async def kubelets_work(world: World, number: int) -> bool:
    """The kubelets get on with so many pods."""
    pods = world.pods(deleting=True)[:number]
    for pod in pods:
        await world.nodes.end(pod)
    dead = [pod for pod in world.pods() if world.nodes.dead(pod)]
    for pod in dead[: number - len(pods)]:
        await world.nodes.fail(pod, "Exited")
    waiting = [pod for pod in world.pods() if pod["status"]["phase"] == "Pending" and not gated(pod)]
    for pod in waiting[: max(0, number - len(pods) - len(dead))]:
        await world.nodes.start(pod)
    for pod in world.pods():
        await world.nodes.probe(pod)
    return bool(pods or dead or waiting)


async def agents_answer(world: World, number: int, reason: str) -> bool:
    """So many agents end their turns."""
    busy = [runner for runner in world.nodes.runners.values() if runner.agent.waiting]
    for runner in busy[:number]:
        await world.nodes.answer(runner, reason)
    return bool(busy)


async def pod_trouble(world: World, what: str, pick: int) -> bool:
    """Something happens to a pod."""
    pods = world.history.pods if what in ("force-deleted", "node lost") else world.pods()
    if (pod := _pick(pick, pods)) is None:
        return False
    world.history.harmed |= {uid_of(pod), owner_uid(pod)}
    if what in FAILURES:
        return await world.nodes.fail(pod, what)
    match what:
        case "image missing":
            return await world.nodes.stick(pod)
        case "deleted":
            with suppress(ApiError):
                await world.api.delete(PODS, key_of(pod), uid=uid_of(pod))
        case "force-deleted":
            await world.nodes.end(pod)
        case "node lost":
            await world.nodes.lose(pod)
        case "killed":
            if (runner := world.nodes.runners.get(uid_of(pod))) is None:
                return False
            await world.nodes.kill(runner)
    return True


async def runner_trouble(world: World, what: str, pick: int) -> bool:
    """Something happens to a runner."""
    runner: Runner | None = _pick(pick, [*world.nodes.runners.values()])
    if runner is None:
        return False
    match what:
        case "loses answers":
            runner.losing += 2
        case "cut off":
            runner.unreachable = not runner.unreachable
        case "its agent dies":
            runner.agent.die()
            if runner.warm and runner.bound is None:  # it ends with its agent
                world.history.harmed.add(runner.pod_uid)
                await world.nodes.kill(runner)
    return True


async def operator(world: World, what: str, pick: int) -> bool:
    """Something happens to a replica of the operator."""
    if what == "join":
        if len(world.replicas) >= REPLICAS:
            return False
        await world.join()
        return True
    replica = _pick(pick, world.replicas)
    if replica is None:
        return False
    world.log.append(f"    it is {replica.name}{', the leader' if replica is world.leader else ''}")
    match what:
        case "crash":
            await world.kill(replica)
        case "stop":
            world.replicas.remove(replica)
            for left in await replica.stop():
                world.history.broken(f"an operator that was stopped left a task: {left}")
        case "freeze":
            if replica.frozen or not replica.leads:
                return False
            replica.freeze()
    return True


async def crash_at(world: World, write: int, lose: Lose, late: float) -> bool:
    """The leader will die at that write of its, which may arrive late."""
    leader = await world.ensure_leader()
    leader.way.late = late
    leader.way.crash_at(write, lose=lose)
    return True


async def crash_claiming(world: World, lose: Lose, late: float) -> bool:
    """The leader will die at its next claim, which may arrive late."""
    leader = await world.ensure_leader()
    leader.way.late, leader.way.dies_claiming = late, lose
    return True


async def meanwhile(world: World, step: int) -> None:
    """What goes on at each step, whatever was chosen: a moment passes, kubelets and agents get on, troubles end."""
    await world.ensure_leader()
    world.server.objects.collect_garbage()
    if step % 3 == 0:
        await kubelets_work(world, 3)
    if step % 3 == 1:
        await agents_answer(world, 2, "")
    await _keep_busy(world)
    if step % TROUBLE_STEPS == 0:
        world.rules.clear()
        await world.nodes.reap({uid_of(pod) for pod in world.history.pods})
        for replica in list(world.replicas):
            replica.way.flow()
            if replica.frozen and not replica.election.is_leader:
                await world.kill(replica)
    await asyncio.sleep(MOMENT)


async def _keep_busy(world: World) -> None:
    """Whatever hypothesis leaves out in this example, there are some sessions to play with, and names for new ones."""
    finished = [each for each in world.sessions() if is_true(each.status.conditions, FINISHED)]
    if len(world.history.sessions) - len(finished) < FEWEST:
        lifecycle = "LongRunning" if next(world.numbers) % 2 else "Ephemeral"
        plain: dict[str, Any] = {"tenant": "default", "prompt": "inline", "model": "", "limits": {}, "ttl": None}
        plain["pool"] = next((pool.metadata.name for pool in world.history.pools.all if pool.spec.tenant), "")
        await create(world, 2, lifecycle=lifecycle, **plain)
    if len(world.history.sessions) > NAMES - 8:
        for session in finished[:8]:
            await _dismiss(world, session)


async def api_trouble(world: World, fault: str, where: str) -> bool:
    """The API server, or the way to it, is ill for all operators, until it is well again."""
    world.rules.clear()
    if fault != "none":
        place = PLACES[where]
        world.rules.append(Rule(FAULTS[fault], place.verbs, place.resources, place.probability))
    return True


async def watches(world: World, what: str, pick: int) -> bool:
    """A replica's watches hang, flow, or break."""
    if (replica := _pick(pick, world.replicas)) is None:
        return False
    match what:
        case "hang":
            replica.way.hang()
        case "flow":
            for each in world.replicas:
                each.way.flow()
        case "break":
            replica.way.cut_watches()
    return True


async def egress_plane(world: World, what: str) -> None:
    """Something happens to the egress process."""
    match what:
        case "restarts":
            await world.plane.restart()
        case "is silent":
            world.plane.reports = False
        case "reports":
            world.plane.reports = True


async def time_passes(world: World, seconds: float) -> None:
    """Everything that was waited for until then is due."""
    if seconds > LONG:
        world.loop.leap(seconds)
    else:
        await asyncio.sleep(seconds)
    await world.quiet()


async def clock_steps(world: World, minutes: int) -> None:
    """The operators' clock is put forward or back."""
    world.clock.step(timedelta(minutes=minutes))


async def settle(world: World) -> None:
    """What can be done without time passing is done."""
    await world.quiet()


def _session(key: Key, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"namespace": key[0], "name": key[1]}
    return {"apiVersion": API_VERSION, "kind": "AgentSession", "metadata": metadata, "spec": spec}
