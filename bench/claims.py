"""Claims from a warm pool, beside kubernetes-sigs/agent-sandbox: same API server, etcd, scheduler, fake nodes, client.

Each in turn has a pool; a client creates claims and sees on a watch when each is Ready. Runners of AgentSession answer
real bind calls on loopback and get a prompt; a sandbox is Ready when its pod is. All of it shares this machine.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import key_of
from agentsession.kube.resource import PODS
from devcluster import progress
from tests.kube.kinds import QUOTAS
from tests.scale.world import World, world

from .agentsandbox import FRUGAL, GATE
from .apiserver import writes
from .command import ended_in_folder
from .contenders import (
    NAMESPACE,
    POOL,
    Contender,
    agent_sandbox,
    agent_session,
    cpu_seconds,
    is_ready,
)
from .figures import verdict
from .objects import ready_in

PATIENCE = 300.0
QUOTA = "no-refill"
WARM_UP = 5
SEED = 1
BARS = {"one at a time": 0.35, "burst of 300": 0.4}
"""Of the median, as a ratio to agent-sandbox with its gate's flags; and of what a claim costs, at most:"""
MOST_WRITES, MOST_CPU = 0.45, 0.5
LEAST_RATE = {"20 in parallel": 2.5, "20 in parallel, no refill": 3.5}
MOST_P95 = {"20/s Poisson": 200.0, "45/s Poisson": 500.0}
"""Milliseconds, of ours."""

Create = Callable[[str], Coroutine[None, None, None]]


@dataclass(frozen=True)
class Load:
    """How claims come: so many, from a pool of that size."""

    name: str
    claims: int
    pool: int
    comes: Callable[[Create, Sequence[str]], Awaitable[None]]
    refill: bool = True
    """Whether what is claimed is replaced meanwhile; else a quota admits no further pods."""


@dataclass(frozen=True)
class Figures:
    """What one load took and cost. spans: seconds from create to Ready, by claim. Refill included in what it cost."""

    spans: list[float]
    seconds: float
    writes: float
    cpu: float

    def milliseconds(self, share: int) -> float:
        """Percentile, of all claims."""
        return 1000 * statistics.quantiles(self.spans, n=100, method="inclusive")[share - 1]

    @property
    def rate(self) -> float:
        """Claims per second, from the first create to the last Ready."""
        return len(self.spans) / self.seconds


async def one_at_a_time(create: Create, names: Sequence[str]) -> None:
    """The next one when the last one is Ready."""
    for name in names:
        await create(name)


async def in_parallel(create: Create, names: Sequence[str], *, clients: int) -> None:
    """So many clients, each of which waits for its claim before it makes the next."""
    left = iter(names)

    async def client() -> None:
        for name in left:
            await create(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


async def poisson(create: Create, names: Sequence[str], *, rate: float) -> None:
    """At that many a second on average, whether or not earlier ones are Ready."""
    drawn = random.Random(SEED)
    began, due = time.monotonic(), 0.0
    async with asyncio.TaskGroup() as group:
        for name in names:
            due += drawn.expovariate(rate)
            await asyncio.sleep(max(0.0, began + due - time.monotonic()))
            group.create_task(create(name))


def loads() -> list[Load]:
    """All of them. Where claims come at a rate, the pool could serve them all: how far each refills it meanwhile is up
    to the contender."""
    return [
        Load("one at a time", 40, 20, one_at_a_time),
        Load("10/s Poisson", 150, 150, partial(poisson, rate=10.0)),
        Load("20/s Poisson", 300, 300, partial(poisson, rate=20.0)),
        Load("45/s Poisson", 600, 600, partial(poisson, rate=45.0)),
        Load("20 in parallel", 200, 100, partial(in_parallel, clients=20)),
        Load("20 in parallel, no refill", 200, 200, partial(in_parallel, clients=20), refill=False),
        Load("burst of 100", 100, 100, partial(in_parallel, clients=100)),
        Load("burst of 300", 300, 300, partial(in_parallel, clients=300)),
    ]


class Client:
    """Creates claims, and sees them become Ready."""

    def __init__(self, api: ApiClient, contender: Contender) -> None:
        self._api = api
        self._contender = contender
        self._ready: dict[str, asyncio.Event] = {}
        self.spans: list[float] = []

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["Client"]:
        """While the block runs."""
        version = (await self._api.list(self._contender.claims, namespace=NAMESPACE)).resource_version
        task = asyncio.create_task(self._follow(version))
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def claim(self, name: str) -> None:
        """Create one and wait until it is Ready."""
        ready = self._ready[name] = asyncio.Event()
        began = time.monotonic()
        await self._api.create(self._contender.claims, self._contender.claim(name))
        await ready.wait()
        self.spans.append(time.monotonic() - began)

    async def _follow(self, version: str) -> None:
        stream = self._api.watch(self._contender.claims, resource_version=version, seconds=3600)
        async for event in stream:
            if event is None or event["type"] not in ("ADDED", "MODIFIED") or not is_ready(event["object"]):
                continue
            if (ready := self._ready.get(key_of(event["object"])[1])) is not None:
                ready.set()


async def measure(made: World, contender: Contender, load: Load) -> Figures:
    """A pool that is full, the load, and until the pool is full again."""
    api, kubeconfig = made.api, made.operators.made.kubeconfig
    await api.apply(contender.pools, contender.pool(load.pool))
    await _full(api, contender, load.pool)
    if not load.refill:
        await _admit_no_pods(api)
    names = [f"c{number}" for number in range(load.claims)]
    async with Client(api, contender).watching() as client:
        cpu, wrote, began = cpu_seconds(contender.pid), await writes(kubeconfig), time.monotonic()
        await load.comes(client.claim, names)
        seconds = time.monotonic() - began
        if load.refill:
            await _full(api, contender, load.pool)
        cost = (await writes(kubeconfig) - wrote) / load.claims, (cpu_seconds(contender.pid) - cpu) / load.claims
    await _clear(made, contender)
    if not load.refill:
        await api.delete(QUOTAS, (NAMESPACE, QUOTA))
    return Figures(client.spans, seconds, *cost)


async def contend(made: World, contender: Contender, chosen: Sequence[Load]) -> dict[str, Figures]:
    """All loads, after a few claims that warm caches."""
    found: dict[str, Figures] = {}
    await measure(made, contender, Load("", WARM_UP, WARM_UP, one_at_a_time))
    for load in chosen:
        with progress.step(f"{contender.name}: {load.name}, {load.claims} claims, pool of {load.pool}"):
            found[load.name] = await measure(made, contender, load)
    return found


async def _full(api: ApiClient, contender: Contender, size: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await ready_in(api, contender.pools, (NAMESPACE, POOL)) < size:
            await asyncio.sleep(0.2)


async def _admit_no_pods(api: ApiClient) -> None:
    """From now on the API server refuses each, which both controllers meet with a pause."""
    metadata = {"namespace": NAMESPACE, "name": QUOTA}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": "0"}}}
    await api.create(QUOTAS, body)
    async with asyncio.timeout(PATIENCE):
        while "pods" not in (await api.get(QUOTAS, (NAMESPACE, QUOTA))).get("status", {}).get("used", {}):
            await asyncio.sleep(0.1)


async def _clear(made: World, contender: Contender) -> None:
    """Delete claims and pool, and wait until their pods are gone."""
    api = made.api
    claims = (await api.list(contender.claims, namespace=NAMESPACE)).items
    slots = asyncio.Semaphore(8)

    async def delete(name: str) -> None:
        async with slots:
            with suppress(NotFoundError):
                await api.delete(contender.claims, (NAMESPACE, name))

    await api.delete(contender.pools, (NAMESPACE, POOL))
    async with asyncio.TaskGroup() as group:
        for claim in claims:
            group.create_task(delete(key_of(claim)[1]))
    async with asyncio.timeout(PATIENCE):
        while (await api.list(PODS, namespace=NAMESPACE)).items:
            await asyncio.sleep(0.2)


def report(found: dict[str, dict[str, Figures]]) -> None:
    """Print the table; ratios are to the first of the others."""
    ours, rival, *_ = found
    print(f"\n{'p50 / p95, ms':<28}" + "".join(f"{name:>30}" for name in found) + f"{'ratio p50':>12}{'bar':>8}")
    for load in found[ours]:
        cells = [f"{each[load].milliseconds(50):.0f} / {each[load].milliseconds(95):.0f}" for each in found.values()]
        ratio = found[ours][load].milliseconds(50) / found[rival][load].milliseconds(50)
        bar = f"{BARS[load]:>8.2f}" if load in BARS else ""
        if load in MOST_P95:
            bar = f"   p95 {MOST_P95[load]:.0f}: {verdict(found[ours][load].milliseconds(95), MOST_P95[load])}"
        print(f"{load:<28}" + "".join(f"{cell:>30}" for cell in cells) + f"{ratio:>12.2f}{bar}")
    loads = found[ours]
    _costs("claims/s (the ratio is to be at least its bar)", found, lambda figures: figures.rate, LEAST_RATE)
    _costs("API writes per claim (*)", found, lambda figures: figures.writes, dict.fromkeys(loads, MOST_WRITES))
    cpu = dict.fromkeys(loads, MOST_CPU)
    _costs("controller's CPU per claim, ms (*)", found, lambda figures: 1000 * figures.cpu, cpu)
    print("(*) refill included; writes: of all clients of the API server, Leases and token reviews left out")


def _costs(
    label: str,
    found: dict[str, dict[str, Figures]],
    value: Callable[[Figures], float],
    bars: Mapping[str, float],
) -> None:
    print(label)
    ours, rival, *_ = found
    for load in found[ours]:
        cells = [f"{value(each[load]):.1f}" for each in found.values()]
        ratio = value(found[ours][load]) / value(found[rival][load])
        said = f"{bars[load]:>8.2f}" if load in bars else ""
        print(f"  {load:<26}" + "".join(f"{cell:>30}" for cell in cells) + f"{ratio:>12.2f}{said}")


async def run(args: argparse.Namespace, folder: Path) -> None:
    """Measure each in turn and print."""
    chosen = [load for load in loads() if not args.load or load.name in args.load]
    found: dict[str, dict[str, Figures]] = {}
    async with world(folder, 2000) as made:
        async with agent_session(made) as contender:
            found[contender.name] = await contend(made, contender, chosen)
        for name, flags in {"agent-sandbox": GATE, "agent-sandbox, fewer writes": FRUGAL}.items():
            async with agent_sandbox(made, flags, name) as contender:
                found[name] = await contend(made, contender, chosen)
    report(found)


def main() -> int:
    """Command line. 1: something failed and was said."""
    parser = argparse.ArgumentParser(prog="python -m bench claims", description=__doc__)
    names = [load.name for load in loads()]
    parser.add_argument("--load", nargs="+", choices=names, metavar="LOAD", help=f"only these of: {', '.join(names)}")
    args = parser.parse_args()
    return ended_in_folder("claims", lambda folder: run(args, folder))


if __name__ == "__main__":
    sys.exit(main())
