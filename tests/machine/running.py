"""Moves of what runs: kubelets get on with pods, agents answer, and both have their troubles. Each says by False that
it was not possible just now."""

from contextlib import suppress

from agentsession.kube.errors import ApiError
from agentsession.kube.objects import key_of, owner_uid, uid_of
from agentsession.kube.resource import PODS

from .objects import gated
from .podstatus import FAILURES
from .runner import Runner
from .world import World, picked


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
    if (pod := picked(pick, pods)) is None:
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
    runner: Runner | None = picked(pick, [*world.nodes.runners.values()])
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
