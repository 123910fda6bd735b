"""What a hostile session costs another tenant's stream: the lag of its events, with and without the plane's bounds.

The attacker sends bodies of very many JSON values, eight at once, as fast as it is answered; all are refused. Model and
client are in one process, so that each event's departure and arrival are read from one clock; the plane and the
attacker have processes of their own.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import aiohttp

from agentsession.egress import bodies, refusals, screening
from agentsession.egress.sse import SseParser
from devcluster.scripted.server import running
from tests.egress import build
from tests.egress.conftest import HEADERS, prompt
from tests.egress.plane import listening

from .egress import departures

ATTACKER = "127.0.0.2"
OFF = 10**9
CASES = (("quiet", True, False), ("attacked, bounded", True, True), ("attacked, unbounded", False, True))
BOUNDS = ((screening, "SHORT"), (bodies, "MAX_STRUCTURE"), (refusals, "AT_ONCE"))


def serve_plane(pipe: Connection, bounded: bool) -> None:
    """A plane that serves pod a and, at the attacker's address, pod b. Gets the model's URL, sends its own."""

    async def serve() -> None:
        async with listening(pipe.recv()) as plane:
            plane.directory.pods.store.observe("ADDED", build.pod("b", addresses=(ATTACKER,)))
            plane.directory.sessions.store.observe("ADDED", build.session("b"))
            pipe.send(plane.url)
            await asyncio.to_thread(pipe.poll, None)

    with contextlib.ExitStack() as stack:
        if not bounded:
            for module, name in BOUNDS:
                stack.enter_context(mock.patch.object(module, name, OFF))
        nowhere = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))  # its audit
        asyncio.run(serve())


def attack(url: str, values: int) -> None:
    """Send bodies of so many values, for ever."""
    body = json.dumps(prompt("hello", metadata={"x": [{}] * (values // 2)}, model="none-of-the-tenants")).encode()

    async def again_and_again(session: aiohttp.ClientSession) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post("/v1/messages", data=body) as answer:
                    await answer.read()

    async def run() -> None:
        headers = HEADERS | {"x-api-key": build.token("b", ATTACKER), "content-type": "application/json"}
        connector = aiohttp.TCPConnector(local_addr=(ATTACKER, 0))
        async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:
            await asyncio.gather(*(again_and_again(session) for _ in range(8)))

    asyncio.run(run())


@contextlib.contextmanager
def process(target: object, *arguments: object) -> Iterator[None]:
    """A process of its own while the block runs; forked, so that all have the same keys for identities and grants."""
    child = multiprocessing.get_context("fork").Process(target=target, args=arguments)  # type: ignore[arg-type]
    child.start()
    try:
        yield
    finally:
        child.terminate()
        child.join()


async def lags(url: str, sent: list[float], args: argparse.Namespace) -> list[float]:
    """Milliseconds from each event's departure to its arrival, of one stream."""
    sent.clear()
    body = prompt(f"[[stream: events=1000000 interval={args.interval}]]", stream=True)
    parser = SseParser()
    arrivals: list[float] = []
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(args.seconds),
            aiohttp.ClientSession(url, headers=HEADERS | {"x-api-key": build.token()}) as session,
            session.post("/v1/messages", json=body, raise_for_status=True) as answer,
        ):
            async for chunk in answer.content.iter_any():
                arrivals += [time.perf_counter()] * len(parser.feed(chunk))
    return [1000 * (arrived - left) for left, arrived in zip(sent, arrivals, strict=False)][1:]


async def measure(args: argparse.Namespace, *, bounded: bool, hostile: bool) -> list[float]:
    """One plane, and somebody who attacks it or does not."""
    ours, theirs = multiprocessing.Pipe()
    with process(serve_plane, theirs, bounded), departures() as sent:
        async with running(keys=frozenset({build.KEY})) as model:
            ours.send(model.url)
            url = await asyncio.to_thread(ours.recv)
            with process(attack, url, args.values) if hostile else contextlib.nullcontext():
                return await lags(url, sent, args)


async def run(args: argparse.Namespace) -> None:
    """Take the three in turn, and print."""
    print(f"{'lag of an event, ms':<22}{'median':>9}{'p99':>10}{'longest':>10}{'ratio':>8}")
    quiet = 0.0
    for name, bounded, hostile in CASES:
        found = await measure(args, bounded=bounded, hostile=hostile)
        quiet = quiet or statistics.median(found)
        median, last = statistics.median(found), statistics.quantiles(found, n=100)[98]
        print(f"{name:<22}{median:>9.3f}{last:>10.2f}{max(found):>10.1f}{median / quiet:>8.1f}", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench neighbour", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="how long to measure each (default: %(default)s)")
    parser.add_argument("--interval", type=float, default=0.005, help="seconds between events (default: %(default)s)")
    parser.add_argument(
        "--values",
        type=int,
        default=400_000,
        help="JSON values in each of the attacker's bodies (default: %(default)s)",
    )
    try:
        asyncio.run(run(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
