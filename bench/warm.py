"""What a warm session takes on a real node with the real CLI: from its creation and its claim to the first request at
the model, beside cold ones.

One at a time, the pool full before each: a runner that starts takes a core of a small machine for seconds.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from agentsession.api.session import AgentSession
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, PODS
from devcluster import progress
from devcluster.demo import scene

from .command import ended
from .figures import p95, verdict
from .node import NAMESPACE, Node, measured
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
    await node.api.create(AGENTSESSIONS, _object(AGENTSESSIONS.kind, name, {"prompt": "[[say: done]]", **spec}))
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


async def run(args: argparse.Namespace, kubeconfig: Path) -> None:
    """Measure and print."""
    agent = {"model": scene.MODEL}
    async with Node.of(kubeconfig) as node:
        await node.api.create(
            AGENTPOOLS, _object(AGENTPOOLS.kind, POOL, {"replicas": RUNNERS, "template": {"agent": agent}})
        )
        with progress.step(f"a pool of {RUNNERS}"):
            await settled(node)
        kinds: dict[str, dict[str, object]] = {
            "warm": {"poolRef": {"name": POOL, "onExhausted": "Wait"}},
            "cold": {"agent": agent},
        }
        found: dict[str, list[tuple[float, AgentSession]]] = {}
        for kind, count in (("warm", args.sessions), ("cold", args.cold)):
            with progress.step(f"{count} {kind} sessions, one at a time"):
                found[kind] = []
                for number in range(count):
                    found[kind].append(await one(node, f"{kind}-{number}", kinds[kind]))
                    await settled(node)
    print()
    from_claim = _spans(found["warm"], lambda _, now: now.status.timings.claimed)
    _line("claim to first model request, ms", from_claim, bars=True)
    for kind, sessions in found.items():
        created = _spans(sessions, lambda at, _: datetime.fromtimestamp(at).astimezone())
        _line(f"{kind}: create to first model request, ms", created)


Since = Callable[[float, AgentSession], datetime | None]


def _spans(sessions: list[tuple[float, AgentSession]], since: Since) -> list[float]:
    """Seconds from then to the first request at the model, which the egress plane dates."""
    spans = []
    for created, now in sessions:
        begun, asked = since(created, now), now.status.timings.first_model_request
        if begun is None or asked is None:
            raise SessionFailedError(f"{now.metadata.name}: {now.status.timings}")
        spans.append((asked - begun).total_seconds())
    return spans


def _line(label: str, spans: list[float], *, bars: bool = False) -> None:
    middle, late = statistics.median(spans), p95(spans)
    held = f"    bars {1000 * BAR_P50:g}, {1000 * BAR_P95:g}: {verdict(middle, BAR_P50)}, {verdict(late, BAR_P95)}"
    print(f"  {label:<44}p50 {1000 * middle:.0f}   p95 {1000 * late:.0f}{held if bars else ''}")


def _object(kind: str, name: str, spec: dict[str, object]) -> KubeObject:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": AGENTSESSIONS.api_version, "kind": kind, "metadata": metadata, "spec": spec}


def main() -> int:
    """Command line. 1: something failed and was said."""
    parser = argparse.ArgumentParser(prog="python -m bench warm", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20, help="warm ones (default: %(default)s)")
    parser.add_argument("--cold", type=int, default=5, help="cold ones (default: %(default)s)")
    args = parser.parse_args()
    return ended(lambda: measured(RUNNERS + 1, partial(run, args)), SessionFailedError)


if __name__ == "__main__":
    sys.exit(main())
