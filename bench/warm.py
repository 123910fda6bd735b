"""What a warm session takes on a real node with the real CLI: from its creation and its claim to the first request at
the model, beside cold ones, and beside a claim of kubernetes-sigs/agent-sandbox whose pods hold the same CLI.

One at a time, the pool full before each: a runner that starts takes a core of a small machine for seconds.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from agentsession.api.session import AgentSession, Timings
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS
from devcluster import progress
from devcluster.demo import scene

from . import agentsandbox, sandboxes
from .command import ended
from .figures import p95, verdict
from .node import NAMESPACE, PROMPT, SECONDS, Node, Prepared, measured
from .objects import made_of
from .timeline import SessionFailedError

POOL = "warm"
RUNNERS = 2
BAR_P50, BAR_P95 = 0.1, 0.2
"""Seconds from claim to first model request."""


async def one(node: Node, name: str, spec: dict[str, object], told: list[Timings]) -> float:
    """A session from its creation to its end: when it was created, in seconds since the epoch. `told` gets its own."""
    key = (NAMESPACE, name)
    created = time.time()
    await node.api.create(AGENTSESSIONS, made_of(AGENTSESSIONS, NAMESPACE, name, {"prompt": PROMPT, **spec}))
    async with asyncio.timeout(SECONDS):
        while (now := AgentSession.model_validate(await node.api.get(AGENTSESSIONS, key))).status.result is None:
            await asyncio.sleep(0.2)
    if now.status.result.is_error:
        raise SessionFailedError(f"{name}: {now.status.conditions}")
    told.append(now.status.timings)
    return created


async def sessions(node: Node, args: argparse.Namespace) -> None:
    """Of this product: warm, then cold. Prints what they took."""
    agent = {"model": scene.MODEL}
    pool = {"replicas": RUNNERS, "template": {"agent": agent}}
    await node.api.create(AGENTPOOLS, made_of(AGENTPOOLS, NAMESPACE, POOL, pool))
    settled = partial(node.settled, AGENTPOOLS, (NAMESPACE, POOL), RUNNERS)
    with progress.step(f"a pool of {RUNNERS}"):
        await settled()
    kinds: dict[str, dict[str, object]] = {
        "warm": {"poolRef": {"name": POOL, "onExhausted": "Wait"}},
        "cold": {"agent": agent},
    }
    told: list[Timings] = []
    for kind, count in (("warm", args.sessions), ("cold", args.cold)):
        asks = [partial(one, node, f"{kind}-{number}", kinds[kind], told) for number in range(count)]
        with progress.step(f"{count} {kind} sessions, one at a time"):
            spans = await one_at_a_time(node, asks, settled)
        _line(f"{kind}: create to first model request, ms", spans)
    from_claim = [
        (at.first_model_request - at.claimed).total_seconds() for at in told if at.claimed and at.first_model_request
    ]
    _line("claim to first model request, ms", from_claim, bars=True)
    await node.api.delete(AGENTPOOLS, (NAMESPACE, POOL))


async def claims(node: Node, args: argparse.Namespace, prepared: Prepared) -> None:
    """Of agent-sandbox. Prints what they took."""
    settled = partial(node.settled, agentsandbox.WARM_POOLS, (sandboxes.NAMESPACE, sandboxes.POOL), RUNNERS)
    asks = [partial(sandboxes.one, node.api, f"claim-{number}") for number in range(args.sessions)]
    async with sandboxes.pool(prepared, node.api, RUNNERS):
        with progress.step(f"agent-sandbox: a pool of {RUNNERS}"):
            await settled()
        with progress.step(f"agent-sandbox: {args.sessions} claims, one at a time"):
            spans = await one_at_a_time(node, asks, settled)
    _line("agent-sandbox: create to first model request, ms", spans)


async def one_at_a_time(
    node: Node, asks: Sequence[Callable[[], Awaitable[float]]], settled: Callable[[], Awaitable[None]]
) -> list[float]:
    """Of each: seconds from its creation to the first request at the model."""
    spans = []
    for ask in asks:
        spans.append(await node.until_asked(ask))
        await settled()
    return spans


async def run(args: argparse.Namespace, prepared: Prepared) -> None:
    """Measure one after the other and print."""
    async with Node.of(prepared.cluster.kubeconfig) as node:
        await sessions(node, args)
        await claims(node, args, prepared)


def _line(label: str, spans: list[float], *, bars: bool = False) -> None:
    middle, late = statistics.median(spans), p95(spans)
    held = f"    bars {1000 * BAR_P50:g}, {1000 * BAR_P95:g}: {verdict(middle, BAR_P50)}, {verdict(late, BAR_P95)}"
    print(f"  {label:<52}p50 {1000 * middle:.0f}   p95 {1000 * late:.0f}{held if bars else ''}", flush=True)


def main() -> int:
    """Command line. 1: something failed and was said."""
    parser = argparse.ArgumentParser(prog="python -m bench warm", description=__doc__)
    parser.add_argument(
        "--sessions", type=int, default=20, help="warm ones, and claims of agent-sandbox (default: %(default)s)"
    )
    parser.add_argument("--cold", type=int, default=5, help="cold ones (default: %(default)s)")
    args = parser.parse_args()
    return ended(lambda: measured(RUNNERS + 1, partial(run, args)), SessionFailedError)


if __name__ == "__main__":
    sys.exit(main())
