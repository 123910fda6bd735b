"""Many sessions on simulated nodes: what each costs, how a leader is followed, and what ten thousand objects cost.

Real API server, etcd, scheduler and garbage collector, two real operator processes; kwok in the place of kubelets, the
runner's own server with an agent of a few lines in the place of each pod. All of it shares this machine.
"""

import argparse
import asyncio
import signal
import statistics
import sys
import time
from pathlib import Path

from agentsession.memory import PERIOD
from devcluster import progress
from tests.scale.burst import WAITS, check, empty, fill, out_of_turn
from tests.scale.finished import finished_sessions
from tests.scale.operators import Operator
from tests.scale.world import NAMESPACES, World, world

from .command import ended_in_folder
from .figures import p95, verdict
from .node import Sample, parsed

MAX_FAILOVER = {signal.SIGKILL: 5.0, signal.SIGTERM: 1.0}
MAX_SYNC = 15.0
MAX_MEMORY = 400.0
"""Bars: seconds from a leader's end to the next reconcile and from a start to complete caches, MiB resident then."""
MIB = 2**20


async def crowd(made: World, count: int, *, killing: bool = False) -> None:
    """So many sessions created at once: to Ready, to their end, deleted. Prints what they took.

    killing: the leader, when half of them are Ready.
    """
    made.runners.free.clear()
    roles = await _roles(made)
    starts = sum(replica.starts for replica in roles.values())
    before = await _samples(made, roles)
    began = time.monotonic()
    with progress.step(f"{count} sessions, to Ready"):
        keys = await made.create(count, f"crowd{len(made.moments)}")
        if killing:
            await made.until(lambda: made.left("Ready", keys) <= count // 2, seconds=1800)
            made.operators.send(await made.operators.leader(), signal.SIGKILL)
        await made.until(lambda: not made.left("Ready", keys), seconds=1800)
    assert made.served_once(keys)
    seconds = time.monotonic() - began
    ready = await _samples(made, roles)
    with progress.step(f"{count} sessions, to their end"):
        made.runners.free.set()
        await made.until(lambda: not made.left("Finished", keys) and not made.pods, seconds=1800)
    ended = await _samples(made, roles)
    with progress.step(f"{count} sessions, deleted"):
        await made.delete(keys)
        await _calm(made)
    after = await _samples(made, roles)
    with progress.step("a while later"):
        await asyncio.sleep(1.2 * PERIOD)
    later = await _samples(made, roles)
    spans = [made.moments[key]["Ready"] - made.moments[key]["created"] for key in keys]
    print(f"\n{count} sessions at once: each Ready, with one runner that was ever granted it")
    if killing:
        print("the leader was killed when half of them were Ready, so that figures of processes are of no use")
    elif sum(replica.starts for replica in roles.values()) != starts:
        print("the leader lost its Lease meanwhile, so that figures of processes are of no use: is the machine busy?")
    _line("create to Ready, s", f"p50 {statistics.median(spans):.1f}   p95 {p95(spans):.1f}")
    _line("to Ready, sessions/s", f"{count / seconds:.1f}")
    _line("API writes per session (*)", f"{(_writes(ended) - _writes(before)) / count:.2f}")
    for role in roles:
        cpu = [1000 * (sample[role].cpu - before[role].cpu) / count for sample in (ready, ended, after)]
        _line(
            f"{role}'s CPU per session, ms", "to Ready {:.1f}   to its end {:.1f}   until deleted {:.1f}".format(*cpu)
        )
        memory = [sample[role].memory / MIB for sample in (before, ready, ended, after, later)]
        grown = 1024 * (memory[1] - memory[0]) / count
        steps = "before {:.0f}   Ready {:.0f}   ended {:.0f}   deleted {:.0f}   later {:.0f}".format(*memory)
        _line(f"{role}'s memory, MiB", f"{steps}   ({grown:.0f} KiB per session that is Ready)")


async def burst(made: World, count: int, runners: int) -> None:
    """So many sessions at once on pools that have so many runners together; each waits for its turn."""
    roles = await _roles(made)
    each = runners // len(NAMESPACES)
    with progress.step(f"pools of {runners} runners together"):
        await fill(made, each)
    before = await _samples(made, roles)
    earlier = {pod for pod, agent in made.runners.agents.items() if agent.asked}
    made.runners.free.clear()
    began = time.monotonic()
    with progress.step(f"{count} sessions claim them, to Ready"):
        keys = await made.create(count, "burst", **WAITS)
        await made.until(lambda: not made.left("Ready", keys), seconds=1800)
    seconds = time.monotonic() - began
    check(made, keys, earlier)
    ready = await _samples(made, roles)
    with progress.step(f"{count} sessions, to their end, and deleted with the pools"):
        made.runners.free.set()
        await made.until(lambda: not made.left("Finished", keys), seconds=1800)
        late = out_of_turn(made, keys)
        await empty(made)
        await made.delete(keys)
        await _calm(made)
    after = await _samples(made, roles)
    spans = [made.moments[key]["Ready"] - made.moments[key]["created"] for key in keys]
    print(f"\n{count} sessions at once on pools of {runners} runners: each Ready once, with a runner of its own")
    _line("create to Ready, s", f"p50 {statistics.median(spans):.1f}   p95 {p95(spans):.1f}   last {max(spans):.1f}")
    _line("to Ready, sessions/s", f"{count / seconds:.1f}")
    _line("served after its turn, places at most", f"{late}")
    for role in roles:
        _line(f"{role}'s CPU per session, ms", f"to Ready {1000 * (ready[role].cpu - before[role].cpu) / count:.1f}")
        memory = [sample[role].memory / MIB for sample in (before, ready, after)]
        _line(f"{role}'s memory, MiB", "before {:.0f}   Ready {:.0f}   deleted {:.0f}".format(*memory))


async def failover(made: World, signum: signal.Signals, times: int) -> None:
    """End the leader while sessions come in, again and again: until another one reconciles."""
    made.runners.free.set()
    spans: list[float] = []
    with progress.step(f"{signum.name} to the leader, {times} times"):
        for number in range(times):
            for replica in made.operators.replicas:
                await made.operators.ready(replica)
            leader = await made.operators.leader()
            successor = next(replica for replica in made.operators.replicas if replica is not leader)
            keys = await made.create(10, f"{signum.name.lower()}{number}")
            made.operators.send(leader, signum)
            ended = time.monotonic()
            while await _reconciles(made, successor) == 0:
                await asyncio.sleep(0.01)
            spans.append(time.monotonic() - ended)
            await made.until(lambda keys=keys: not made.left("Finished", keys))  # type: ignore[misc]
            await made.delete(keys)
    label = {signal.SIGKILL: "kill -9", signal.SIGTERM: "clean stop"}[signum]
    said = f"median {statistics.median(spans):.2f}   longest {max(spans):.2f}"
    _line(f"{label} to the next reconcile, s", said, MAX_FAILOVER[signum], max(spans))


async def objects(made: World, count: int) -> None:
    """Finished sessions that nobody has deleted: a replica starts among them, then leads."""
    await made.operators.close()
    with progress.step(f"making {count} finished sessions (two writes each)"):
        await finished_sessions(made.api, count)
    made.operators.replicas.clear()
    with progress.step("starting a replica among them"):
        began = time.monotonic()
        replica = await made.operators.start()
        seconds = time.monotonic() - began
        synced = parsed(await made.operators.metrics(replica))
        await made.operators.leader()
        await _calm(made)
    led = parsed(await made.operators.metrics(replica))
    print(f"\n{count} finished sessions in the cluster")
    _line("start of a replica to complete caches, s", f"{seconds:.1f}", MAX_SYNC, seconds)
    _line("  its CPU until then, s", f"{synced.cpu:.1f}")
    _line("its memory then, MiB", f"{synced.memory / MIB:.0f}", MAX_MEMORY, synced.memory / MIB)
    _line("as leader that has seen each of them, MiB", f"{led.memory / MIB:.0f}", MAX_MEMORY, led.memory / MIB)
    _line("  its CPU for that, s", f"{led.cpu - synced.cpu:.1f}")


async def _roles(made: World) -> dict[str, Operator]:
    """Who leads, and who stands by."""
    leaders = await made.operators.leaders(made.shards)
    roles = {f"leader {number}" if made.shards > 1 else "leader": item for number, item in enumerate(leaders, 1)}
    return {**roles, "standby": next(item for item in made.operators.replicas if item not in leaders)}


async def _samples(made: World, roles: dict[str, Operator]) -> dict[str, Sample]:
    return {role: parsed(await made.operators.metrics(replica)) for role, replica in roles.items()}


def _writes(samples: dict[str, Sample]) -> float:
    return sum(sum(sample.writes.values()) for role, sample in samples.items() if role != "standby")


async def _reconciles(made: World, replica: Operator) -> float:
    return await made.operators.metric(replica, "agentsession_reconcile_seconds_count", controller="sessions")


async def _calm(made: World) -> None:
    """Wait until the leaders' queues have been empty for two seconds, with something reconciled."""
    quiet, before = 0, -1.0
    while quiet < 4:
        await asyncio.sleep(0.5)
        leaders = await made.operators.leaders(made.shards)
        done = sum([await _reconciles(made, leader) for leader in leaders])
        depth = sum([await made.operators.metric(leader, "agentsession_queue_depth") for leader in leaders])
        quiet = quiet + 1 if done == before > 0 and depth == 0 else 0
        before = done


def _line(label: str, said: str, bar: float | None = None, value: float = 0.0) -> None:
    held = "" if bar is None else f"    bar {bar:g}: {verdict(value, bar)}"
    print(f"  {label:<44}{said}{held}")


async def run(args: argparse.Namespace, folder: Path) -> None:
    """Measure and print."""
    async with world(folder, max([*args.sessions, args.burst]), args.shards) as made:
        for _ in range(args.shards + 1):
            await made.operators.start()
        await crowd(made, 20)  # so that both replicas have done everything once
        for count in args.sessions:
            await crowd(made, count, killing=args.kill_leader)
        if args.burst:
            await burst(made, args.burst, args.pool)
        print()
        if args.failovers:
            for signum in MAX_FAILOVER:
                await failover(made, signum, args.failovers)
        if args.objects:
            await objects(made, args.objects)
        print(
            "(*) until the pod is gone, its deletion and Events included; Leases are not, they are written in any case"
        )


def main() -> int:
    """Command line. 1: something failed and was said."""
    parser = argparse.ArgumentParser(prog="python -m bench scale", description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="*", default=[500, 2000], help="at once (default: 500 2000)")
    parser.add_argument("--kill-leader", action="store_true", help="with -9, when half of the sessions are Ready")
    parser.add_argument("--burst", type=int, default=2000, help="at once, on pools (default: %(default)s)")
    parser.add_argument("--pool", type=int, default=500, help="runners of those pools together (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=1, help="leaders of a part each (default: %(default)s)")
    parser.add_argument("--failovers", type=int, default=3, help="of each kind (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=10_000, help="finished sessions (default: %(default)s)")
    args = parser.parse_args()
    return ended_in_folder("scale", lambda folder: run(args, folder))


if __name__ == "__main__":
    sys.exit(main())
