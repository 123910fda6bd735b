"""What a warm session takes on a real node with the real CLI: from its creation and its claim to the first request at
the model, beside cold ones, and beside a claim of kubernetes-sigs/agent-sandbox whose pods hold the same CLI.

One at a time, the pool full before each: a runner that starts takes a core of a small machine for seconds.
"""

import argparse
import asyncio
import statistics
import sys
import time
from functools import partial

from agentsession.api.session import AgentSession
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, PODS
from devcluster import progress
from devcluster.demo import scene

from . import sandboxes
from .command import ended
from .figures import p95, verdict
from .node import NAMESPACE, Node, Prepared, measured
from .sandboxes import PROMPT
from .timeline import SessionFailedError

POOL = "warm"
RUNNERS = 2
BAR_P50, BAR_P95 = 0.1, 0.2
"""Seconds from claim to first model request."""
SECONDS = 120.0


async def one(node: Node, name: str, spec: dict[str, object]) -> tuple[float, AgentSession]:
    """A session from its creation to its end: when it was created, in seconds since the epoch, and what it says."""
    key = (NAMESPACE, name)
    created = time.time()
    await node.api.create(AGENTSESSIONS, _object(AGENTSESSIONS.kind, name, {"prompt": PROMPT, **spec}))
    async with asyncio.timeout(SECONDS):
        while (now := AgentSession.model_validate(await node.api.get(AGENTSESSIONS, key))).status.result is None:
            await asyncio.sleep(0.2)
    if now.status.result.is_error:
        raise SessionFailedError(f"{name}: {now.status.conditions}")
    return created, now


async def settled(node: Node) -> None:
    """Wait until the pool is full and the last session's runner is gone."""
    async with asyncio.timeout(SECONDS):
        while True:
            pool = await node.api.get(AGENTPOOLS, (NAMESPACE, POOL))
            pods = (await node.api.list(PODS, namespace=NAMESPACE)).items
            if pool.get("status", {}).get("readyReplicas", 0) == RUNNERS == len(pods):
                return
            await asyncio.sleep(0.2)


async def sessions(node: Node, args: argparse.Namespace) -> None:
    """Of this product: warm, then cold. Prints what they took."""
    agent = {"model": scene.MODEL}
    pool = {"replicas": RUNNERS, "template": {"agent": agent}}
    await node.api.create(AGENTPOOLS, _object(AGENTPOOLS.kind, POOL, pool))
    with progress.step(f"a pool of {RUNNERS}"):
        await settled(node)
    kinds: dict[str, dict[str, object]] = {
        "warm": {"poolRef": {"name": POOL, "onExhausted": "Wait"}},
        "cold": {"agent": agent},
    }
    from_claim: list[float] = []
    for kind, count in (("warm", args.sessions), ("cold", args.cold)):
        spans = []
        with progress.step(f"{count} {kind} sessions, one at a time"):
            for number in range(count):
                await node.forget_requests()
                created, now = await one(node, f"{kind}-{number}", kinds[kind])
                spans.append(await node.first_request() - created)
                timings = now.status.timings
                if timings.claimed is not None and timings.first_model_request is not None:
                    from_claim.append((timings.first_model_request - timings.claimed).total_seconds())
                await settled(node)
        _line(f"{kind}: create to first model request, ms", spans)
    _line("claim to first model request, ms", from_claim, bars=True)
    await node.api.delete(AGENTPOOLS, (NAMESPACE, POOL))


async def claims(node: Node, args: argparse.Namespace, prepared: Prepared) -> None:
    """Of agent-sandbox. Prints what they took."""
    spans = []
    async with sandboxes.pool(prepared, node.api, RUNNERS):
        with progress.step(f"agent-sandbox: a pool of {RUNNERS}"):
            await sandboxes.settled(node, RUNNERS)
        with progress.step(f"agent-sandbox: {args.sessions} claims, one at a time"):
            for number in range(args.sessions):
                await node.forget_requests()
                created = await sandboxes.one(node, f"claim-{number}")
                spans.append(await node.first_request() - created)
                await sandboxes.settled(node, RUNNERS)
    _line("agent-sandbox: create to first model request, ms", spans)


async def run(args: argparse.Namespace, prepared: Prepared) -> None:
    """Measure one after the other and print."""
    async with Node.of(prepared.cluster.kubeconfig) as node:
        await sessions(node, args)
        await claims(node, args, prepared)


def _line(label: str, spans: list[float], *, bars: bool = False) -> None:
    middle, late = statistics.median(spans), p95(spans)
    held = f"    bars {1000 * BAR_P50:g}, {1000 * BAR_P95:g}: {verdict(middle, BAR_P50)}, {verdict(late, BAR_P95)}"
    print(f"  {label:<52}p50 {1000 * middle:.0f}   p95 {1000 * late:.0f}{held if bars else ''}", flush=True)


def _object(kind: str, name: str, spec: dict[str, object]) -> KubeObject:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": AGENTSESSIONS.api_version, "kind": kind, "metadata": metadata, "spec": spec}


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
