"""Whether all has come to rest as it should: what is judged once the faults are over and the environment is kind."""

import asyncio
import json
from collections.abc import Iterator

from agentsession.api.base import condition, is_true
from agentsession.api.conditions import FINISHED, RESOLVED_REFS
from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession
from agentsession.kube.objects import condition_of, is_terminating, key_of, owner_uid, uid_of
from agentsession.runners.claimants import POOL_EXHAUSTED
from agentsession.runners.deletion import outlives
from agentsession.sessions.offer import pool_key

from .history import reason
from .meanwhile import MOMENT
from .operators import Operator
from .people import PROMPT
from .places import NAMESPACE, payer
from .pools import admits, desired, unclaimed
from .running import kubelets_work
from .world import World

JUMPS = (0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1200, 3600)
"""Seconds, each several times: short ones for retries, long ones for limits."""

LAST_COUNTS = 15
"""Seconds after which usage that was counted is in status."""


async def converge(world: World) -> None:
    """End the faults, be kind, let time pass: and judge what is left. Adds to the history's violations."""
    world.log.append("the end: no more faults")
    leader = await _heal(world)
    left = [""]
    for jump in sorted(JUMPS * 6):
        leader = await _leading(world)
        await _be_kind(world)
        await world.quiet()
        left = [*_restless(world), *_leaks(world, leader)]
        if not left or world.history.violations:
            break
        world.loop.leap(jump)
    for what in left:
        world.history.broken(f"does not converge: {what}")
    if world.history.violations:
        return
    await _rest(world, leader, "another full reconcile")
    for what in _miscounted(world):
        world.history.broken(what)
    for what in await leader.stop():
        world.history.broken(f"an operator that was stopped left a task: {what}")
    world.replicas.remove(leader)
    await _rest(world, await world.ensure_leader(), "a new operator")


async def _heal(world: World) -> Operator:
    world.rules.clear()
    world.plane.reports = True
    for runner in world.nodes.runners.values():
        runner.unreachable, runner.losing = False, 0
    for replica in list(world.replicas):
        replica.way.call_off()
        replica.way.dies_claiming = None
        replica.way.flow()
        if replica.frozen or replica is not world.leader:
            await world.kill(replica)
    return await _leading(world)


async def _leading(world: World) -> Operator:
    """The leader, once its caches are complete."""
    leader = await world.ensure_leader()
    while leader.leader is None:
        await world.quiet()
        await asyncio.sleep(0.1)
    return leader


async def _be_kind(world: World) -> None:
    world.server.objects.collect_garbage()
    await kubelets_work(world, len(world.history.pods))
    while busy := [runner for runner in world.nodes.runners.values() if runner.agent.waiting]:
        for runner in busy:
            await world.nodes.answer(runner)
        await asyncio.sleep(MOMENT)  # for the next follow-up to be delivered


def _restless(world: World) -> Iterator[str]:
    """What is not at rest yet."""
    owners = {session.metadata.uid: session for session in world.history.sessions}
    for session in world.history.sessions:
        if (why := _not_at_rest(world, session)) is not None:
            message = condition(session.status.conditions, "Ready")
            yield f"session {session.metadata.name} ({why}): {session.status.phase}: {message}"
    pools = {pool.metadata.uid: pool for pool in world.history.pools.all}
    for pool in pools.values():
        yield from _unfilled(world, pool)
    for pod in world.history.pods:
        if owner_uid(pod) in pools and not is_terminating(pod):
            continue
        owner = owners.get(world.history.session_of(uid_of(pod)) or owner_uid(pod))
        if owner is None or is_true(owner.status.conditions, FINISHED) or is_terminating(pod):
            yield f"pod {pod['metadata']['name']} is still there"


def _unfilled(world: World, pool: AgentPool) -> Iterator[str]:
    """It has as many runners ready as it is to have, all of its present template, and its status says so."""
    status, name = pool.status, pool.metadata.name
    runners = unclaimed(world.history.pods, pool.metadata.uid)
    if status.observed_generation != pool.metadata.generation:
        yield f"pool {name}: generation {pool.metadata.generation} is not observed"
    resolved = condition(status.conditions, RESOLVED_REFS)
    if resolved is not None and resolved.status != "True":
        if pool.spec.tenant is None or (NAMESPACE, pool.spec.tenant) in world.history.tenants.all:
            yield f"pool {name} lacks nothing, and says {resolved}"
        return
    most, says = desired(pool), (status.replicas, status.ready_replicas, status.updated_replicas)
    size = status.desired_replicas if pool.spec.scaling.mode == "Auto" else most
    if len(runners) != size or size > most or says != (size, size, size):
        yield f"pool {name} has {len(runners)} runners, is to have {size}, and says {says}"
    if status.now_serving != (next_ := _now_served(world, pool)):
        yield f"pool {name} serves ticket {next_} next, and says {status.now_serving}"
    prompt = pool.spec.template.agent.system_prompt == PROMPT
    for pod in runners:
        if condition_of(pod, "Ready")[0] != "True":
            yield f"runner {pod['metadata']['name']} is not ready"
        if (PROMPT in json.dumps(pod["spec"])) != prompt:
            yield f"runner {pod['metadata']['name']} is not of the present template"


def _now_served(world: World, pool: AgentPool) -> int | None:
    """The lowest ticket of those who wait for it."""
    naming = (session for session in world.history.sessions if pool_key(session) == pool.key)
    tickets = [session.status.ticket for session in naming if reason(session.status) == POOL_EXHAUSTED]
    return min(filter(None, tickets), default=None)


def _not_at_rest(world: World, session: AgentSession) -> str | None:
    status, spec = session.status, session.spec
    if session.metadata.deletion_timestamp is not None:
        return "is being deleted"
    if status.observed_generation != session.metadata.generation:
        return f"generation {session.metadata.generation} is not observed"
    if is_true(status.conditions, FINISHED):
        return "its ttl is over" if spec.ttl_seconds_after_finished is not None else None
    if status.phase == "Suspended":
        return None if spec.suspend and not world.plane.serves(session.metadata.uid) else "nobody suspends it"
    if spec.suspend and tenant_keeps(world, session):
        return "it is not suspended"
    if reason(status) == "Connected":
        answered = [turn.id for turn in status.turns if turn.state != "Running"]
        wanted = ["prompt", *(item.id for item in spec.follow_ups)]
        if spec.lifecycle != "LongRunning" or answered != wanted:
            return "it is not answered"
        return None if len(world.plane.serves(session.metadata.uid)) == 1 else "its runner would not be served"
    return None if reason(status) in _reasons_to_wait(world, session) else "it waits for nothing"


def tenant_keeps(world: World, session: AgentSession) -> bool:
    """Whether its conversation can be suspended at all: before the start any can."""
    return session.spec.tenant_ref.name == "default" or not session.status.turns


def _reasons_to_wait(world: World, session: AgentSession) -> Iterator[str]:
    key = session.metadata.namespace, session.spec.tenant_ref.name
    if (tenant := world.history.tenants.all.get(key)) is None:
        yield "TenantNotFound"
    if (place := pool_key(session)) is not None:
        pool = next((each for each in world.history.pools.all if each.key == place), None)
        if tenant is not None and place[0] not in (key[0], *tenant.spec.shared_pools.namespaces):
            yield "SharedPoolNotAllowed"
        if pool is None or not admits(pool, key[0]):
            yield "PoolNotFound"
        elif not unclaimed(world.history.pods, pool.metadata.uid):
            yield "PoolExhausted"
    if session.spec.agent is not None and session.spec.agent.model != "m":
        yield "ModelNotAllowed"
    if session.spec.prompt_from is not None and session.spec.prompt_from.config_map_key_ref.name not in world.maps:
        yield "PromptNotFound"
    running = sum(payer(pod) == key for pod in world.history.pods)
    if tenant is not None and running >= tenant.spec.sessions.max_concurrent:
        yield "TenantAtCapacity"


def _miscounted(world: World) -> Iterator[str]:
    """Usage is exact, or marked as estimated; an answer in status is one that an agent gave.

    What an egress process took with it is told by times, so it goes unnoticed where the operators' clock was put back.
    """
    for session in world.history.sessions:
        name, usage = session.metadata.name, session.status.usage
        served = world.plane.served[session.metadata.uid]
        exact = (usage.requests if usage else 0) == served or world.clock.stepped
        if not exact and not (usage and usage.estimated):
            yield f"session {name} made {served} requests, its status says {usage}"
        for turn in session.status.turns:
            if turn.state == "Completed" and turn.text != world.nodes.answers.get(turn.uuid):
                yield f"session {name}, turn {turn.id}: {turn.text} is nothing that the agent said"


def _leaks(world: World, leader: Operator) -> Iterator[str]:
    """What the leader still holds of what is gone."""
    assert leader.leader is not None
    there = {session.key for session in world.history.sessions}
    served = {session.key for session in world.history.sessions if not is_true(session.status.conditions, FINISHED)}
    pools = {pool.key for pool in world.history.pools.all}
    holds = {
        "listens to": (set(leader.leader.listeners._listeners), served),
        "meters": (set(leader.leader.meters._sessions), there),
        "remembers writes of": (set(leader.leader.sessions._written), there),
        "counts failures of": (set(leader.queues.sessions._failures), set[tuple[str, str]]()),
        "counts failures of the tenant": (set(leader.queues.tenants._failures), set[tuple[str, str]]()),
        "has in work": (set(leader.queues.sessions._working), set[tuple[str, str]]()),
        "waits for": (set(leader.queues.sessions._delayed), there),
        "remembers writes of the pool": (set(leader.leader.pools._written), pools),
        "makes runners of the pool": (set(leader.leader.pools._batch), pools),
        "counts failures of the runner": (set(leader.queues.claimed._failures), set[tuple[str, str]]()),
        "counts failures of the pool": (set(leader.queues.pools._failures), set[tuple[str, str]]()),
    }
    for what, (held, allowed) in holds.items():
        for namespace, name in held - allowed:
            yield f"the operator {what} {namespace}/{name}, which has ended"


async def _rest(world: World, leader: Operator, what: str) -> None:
    """Look at everything twice: the second time there must be nothing to write. The first time there may be: that an
    egress process is gone is said of a session that rests when somebody looks at it next."""
    for _ in range(2):
        await asyncio.sleep(LAST_COUNTS)
        leader.way.seen.clear()
        for session in world.history.sessions:
            leader.queues.sessions.add(session.key)
        for pool in world.history.pools.all:
            leader.queues.pools.add(pool.key)
        for tenant in world.history.tenants.all:
            leader.queues.tenants.add(tenant)
        for pod in filter(outlives, world.history.pods):
            leader.queues.claimed.add(key_of(pod))
        await world.quiet()
    for request in leader.way.seen:
        if not request.startswith("GET"):
            world.history.broken(f"{what} writes: {request}")
