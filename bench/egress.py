"""What the egress plane adds to an answer: time to the first event, and to each streamed event.

Model and client are in one process, so that each event's departure and arrival are read from one clock; the plane has
a process of its own. Direct and through the plane take turns, stream by stream, in one run.
"""

import argparse
import asyncio
import contextlib
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

from agentsession.egress.sse import SseParser
from devcluster import progress
from devcluster.scripted import wire
from devcluster.scripted.server import running
from tests.egress import build
from tests.egress.conftest import HEADERS, prompt
from tests.egress.plane import listening

BARS = {"first event": 5.0, "each event": 0.5}
"""Milliseconds that the plane may add at the median."""


def serve_plane(pipe: Connection) -> None:
    """The plane's process: gets the model's URL, sends its own, ends when the other end of `pipe` does."""

    async def serve() -> None:
        async with listening(pipe.recv()) as plane:
            pipe.send(plane.url)
            await asyncio.to_thread(pipe.poll, None)

    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # its audit
        asyncio.run(serve())


@contextlib.contextmanager
def departures() -> Iterator[list[float]]:
    """When the scripted model wrote each event, in seconds of the performance counter."""
    times: list[float] = []
    encode = wire.Event.encode

    def stamped(event: wire.Event) -> bytes:
        times.append(time.perf_counter())
        return encode(event)

    with mock.patch.object(wire.Event, "encode", stamped):
        yield times


async def one_stream(
    session: aiohttp.ClientSession, sent: list[float], body: dict[str, object]
) -> tuple[float, list[float]]:
    """One answer: milliseconds from the request to its first event, and from each event's departure to its arrival."""
    sent.clear()
    parser = SseParser()
    arrivals: list[float] = []
    started = time.perf_counter()
    async with session.post("/v1/messages", json=body, raise_for_status=True) as answer:
        async for chunk in answer.content.iter_any():
            arrivals += [time.perf_counter()] * len(parser.feed(chunk))
    lags = [1000 * (arrived - left) for left, arrived in zip(sent, arrivals, strict=True)]
    return 1000 * (arrivals[0] - started), lags


async def measure(plane_url: str, model_url: str, sent: list[float], args: argparse.Namespace) -> None:
    """Take turns, then print."""
    body = prompt(f"[[stream: events={args.events} interval={args.interval}]]", stream=True)
    body["system"] = "x" * args.request_bytes
    first: dict[str, list[float]] = {"direct": [], "plane": []}
    each: dict[str, list[float]] = {"direct": [], "plane": []}
    async with (
        aiohttp.ClientSession(model_url, headers=HEADERS | {"x-api-key": build.KEY}) as direct,
        aiohttp.ClientSession(plane_url, headers=HEADERS | {"x-api-key": build.token()}) as through,
    ):
        with progress.step(f"{args.streams} streams each way"):
            for number in range(args.streams + 1):
                for name, session in (("direct", direct), ("plane", through)):
                    until_first, lags = await one_stream(session, sent, body)
                    if number:  # the first opens connections
                        first[name].append(until_first)
                        each[name] += lags[1:]
    print(f"{'median, ms':<14}{'direct':>9}{'plane':>9}{'added':>9}{'ratio':>8}{'bar':>7}")
    for name, times in (("first event", first), ("each event", each)):
        before, after = statistics.median(times["direct"]), statistics.median(times["plane"])
        added = after - before
        verdict = "" if added <= BARS[name] else "  over"
        print(f"{name:<14}{before:>9.3f}{after:>9.3f}{added:>+9.3f}{after / before:>8.2f}{BARS[name]:>+7.1f}{verdict}")


async def run(args: argparse.Namespace, plane: Connection) -> None:
    """Start the model here; `plane` leads to the plane's process."""
    async with running(keys=frozenset({build.KEY})) as model:
        plane.send(model.url)
        with departures() as sent:
            await measure(await asyncio.to_thread(plane.recv), model.url, sent, args)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench egress", description=__doc__)
    parser.add_argument("--streams", type=int, default=40, help="streams each way (default: %(default)s)")
    parser.add_argument("--events", type=int, default=100, help="events per stream (default: %(default)s)")
    parser.add_argument("--interval", type=float, default=0.003, help="seconds between events (default: %(default)s)")
    parser.add_argument(
        "--request-bytes", type=int, default=48_000, help="size of a request; the CLI's first has 48 kB (default)"
    )
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    # Forked, so that both processes have the same keys for identities and grants.
    child = multiprocessing.get_context("fork").Process(target=serve_plane, args=(theirs,), daemon=True)
    child.start()
    try:
        asyncio.run(run(args, ours))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        child.terminate()
        child.join()


if __name__ == "__main__":
    main()
