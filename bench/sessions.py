"""What a cold Ephemeral session costs on a real node: time to Ready, the operator's API writes, CPU of every process.

The idle processes are measured first, then sessions one at a time, then some at once. A session's cost
ends when its pod is gone; what the processes would have used anyway is taken off.
"""

import argparse
import asyncio
import random
import sys
import time
from functools import partial

from agentsession.kube.resource import AGENTSESSIONS
from devcluster import progress
from devcluster.demo import scene

from .command import ended
from .figures import Batch, report
from .node import NAMESPACE, PROMPT, Node, Prepared, measured
from .objects import made_of
from .timeline import SessionFailedError, Timeline

SPEC = {"prompt": PROMPT, "agent": {"model": scene.MODEL}}


async def idle(node: Node, seconds: float) -> Batch:
    """The processes when nothing happens."""
    processes = await node.processes()
    before, began = await node.samples(processes), time.monotonic()
    await asyncio.sleep(seconds)
    return Batch([], [], before, await node.samples(processes), time.monotonic() - began)


async def batch(node: Node, timeline: Timeline, prefix: str, count: int, at_once: int) -> Batch:
    """So many sessions, and no more than `at_once` together."""
    processes = await node.processes()
    slots = asyncio.Semaphore(at_once)
    names = [f"{prefix}-{number}" for number in range(1, count + 1)]
    before, began = await node.samples(processes), time.monotonic()
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(_one(node, timeline, name, slots))
    after, seconds = await node.samples(processes), time.monotonic() - began
    timings = [timeline.sessions[name]["status"]["timings"] for name in names]
    return Batch([timeline.moments[name] for name in names], timings, before, after, seconds)


async def _one(node: Node, timeline: Timeline, name: str, slots: asyncio.Semaphore) -> None:
    async with slots:
        timeline.mark(name, "created")
        await node.api.create(AGENTSESSIONS, made_of(AGENTSESSIONS, NAMESPACE, name, SPEC))
        await timeline.reached(name, "ready")
        await timeline.read_logs(name)
        await timeline.reached(name, "finished")
        await timeline.reached(name, "gone")
        # A kubelet looks at its containers once a second: who starts right after an end always meets the same phase.
        await asyncio.sleep(random.random())
        at = timeline.moments[name]
        progress.say(f"  {name}: Ready after {at['ready'] - at['created']:.2f} s")


async def run(args: argparse.Namespace, prepared: Prepared) -> None:
    """Measure and print."""
    async with Node.of(prepared.cluster.kubeconfig) as node, asyncio.TaskGroup() as group:
        timeline, watching = Timeline(node), asyncio.Event()
        following = group.create_task(timeline.follow(watching.set))
        await watching.wait()
        progress.say("one session first, so that caches are warm")
        await batch(node, timeline, "warm", 1, 1)
        with progress.step(f"idle processes, {args.idle:g} s"):
            resting = await idle(node, args.idle)
        progress.say(f"{args.sessions} sessions, one at a time")
        alone = await batch(node, timeline, "alone", args.sessions, 1)
        progress.say(f"{args.at_once} sessions at once")
        together = await batch(node, timeline, "together", args.at_once, args.at_once)
        following.cancel()
        report(resting, alone, together)


def main() -> int:
    """Command line. 1: something failed and was said."""
    parser = argparse.ArgumentParser(prog="python -m bench sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20, help="one at a time (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=8, help="then so many together (default: %(default)s)")
    parser.add_argument("--idle", type=float, default=30, help="seconds of rest before (default: %(default)s)")
    args = parser.parse_args()
    return ended(lambda: measured(args.at_once, partial(run, args)), SessionFailedError)


if __name__ == "__main__":
    sys.exit(main())
