"""Troubles of the control side: operators, their way to the API server, the egress plane. Each says by False that it
was not possible just now."""

from tests.kube.faults import Fault, Lose, Rule

from .world import World, picked

REPLICAS = 3
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


async def operator(world: World, what: str, pick: int) -> bool:
    """Something happens to a replica of the operator."""
    if what == "join":
        if len(world.replicas) >= REPLICAS:
            return False
        await world.join()
        return True
    replica = picked(pick, world.replicas)
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


async def api_trouble(world: World, fault: str, where: str) -> bool:
    """The API server, or the way to it, is ill for all operators, until it is well again."""
    world.rules.clear()
    if fault != "none":
        place = PLACES[where]
        world.rules.append(Rule(FAULTS[fault], place.verbs, place.resources, place.probability))
    return True


async def watches(world: World, what: str, pick: int) -> bool:
    """A replica's watches hang, flow, or break."""
    if (replica := picked(pick, world.replicas)) is None:
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
