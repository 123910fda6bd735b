"""What it costs to have a runner ready: pools of a fixed size, by the rate as KEDA sizes them, and sizing themselves.

Simulated, on arrivals as they were recorded. A session that finds no runner ready starts cold, and takes none away.
"""

import argparse
import csv
import heapq
import itertools
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agentsession.pools.sizing import Sizer

TRACES = Path(__file__).parent / "traces"
TICK = 1.0
"""Seconds between two looks of a policy; it also looks at each arrival."""
SPREAD = 0.35
"""Of the time that a runner takes to start: the deviation of its logarithm."""
MOST = 200


@dataclass
class Outcome:
    """What a policy did. idle: seconds that runners were ready and unclaimed, of all together."""

    sessions: int = 0
    warm: int = 0
    idle: float = 0.0
    peak: int = 0


class Fixed:
    """spec.replicas."""

    def __init__(self, size: int) -> None:
        self._size = size

    def arrived(self, at: float) -> None:
        """Nothing changes."""

    def size(self, _: float) -> int:
        """Always that."""
        return self._size


class Keda:
    """An HPA that KEDA feeds with the rate of claims, as in agent-sandbox's example: rate[1m] / target, every 15 s; up
    by as many as there are or 4 each time, down to the greatest of the last 300 s."""

    def __init__(self, target: float) -> None:
        self._target = target
        self._came: deque[float] = deque()
        self._wanted: deque[tuple[float, int]] = deque()
        self._size, self._polled = 0, float("-inf")

    def arrived(self, at: float) -> None:
        """Counted for a minute."""
        self._came.append(at)

    def size(self, now: float) -> int:
        """As of the last poll."""
        if now - self._polled < 15:
            return self._size
        self._polled = now
        while self._came and self._came[0] < now - 60:
            self._came.popleft()
        self._wanted.append((now, math.ceil(len(self._came) / 60 / self._target)))
        while self._wanted[0][0] < now - 300:
            self._wanted.popleft()
        most = max(2 * self._size, self._size + 4)
        self._size = min(self._wanted[-1][1], most) if self._wanted[-1][1] > self._size else self._lowered()
        return self._size

    def _lowered(self) -> int:
        return min(self._size, max(wanted for _, wanted in self._wanted))


class Auto:
    """scaling.mode: Auto."""

    def __init__(self, percent: int, start: float) -> None:
        self._sizer, self._warm, self._start = Sizer(0.0), percent / 100, start

    def arrived(self, at: float) -> None:
        """As the operator does."""
        self._sizer.arrived(at, self._start)

    def size(self, now: float) -> int:
        """As the operator does."""
        return self._sizer.size(now, self._start, self._warm)


Sizing = Fixed | Keda | Auto


def simulate(arrivals: Sequence[float], policy: Sizing, start: float, seed: int) -> Outcome:
    """Play the arrivals. start: median seconds until a runner is ready."""
    drawn = random.Random(seed)
    ready, starting, outcome, clock = 0, list[float](), Outcome(), 0.0
    for at, came in _moments(arrivals):
        while starting and starting[0] <= at:
            begins = heapq.heappop(starting)
            outcome.idle += ready * (begins - clock)
            ready, clock = ready + 1, begins
        outcome.idle += ready * (at - clock)
        clock = at
        if came:
            outcome.sessions += 1
            if ready:
                ready, outcome.warm = ready - 1, outcome.warm + 1
            policy.arrived(at)
        wanted = min(policy.size(at), MOST)
        outcome.peak = max(outcome.peak, wanted)
        while ready + len(starting) < wanted:
            heapq.heappush(starting, at + start * drawn.lognormvariate(0.0, SPREAD))
        while ready + len(starting) > wanted:
            if starting:
                starting.remove(max(starting))
            else:
                ready -= 1
    return outcome


def _moments(arrivals: Sequence[float]) -> Iterator[tuple[float, bool]]:
    """Arrivals and ticks, in order."""
    tick = 0.0
    for at in arrivals:
        while tick <= at:
            yield tick, False
            tick += TICK
        yield at, True


def office(seed: int, hours: float = 6.0) -> list[float]:
    """A made-up working day: demand that swells and ebbs, and a burst each half hour, as of scheduled jobs."""
    drawn, at, arrivals = random.Random(seed), 0.0, list[float]()
    most = 0.12
    while at < hours * 3600:
        at += drawn.expovariate(most)
        if drawn.random() < 0.15 + 0.85 * math.sin(math.pi * at / hours / 3600) ** 2:
            arrivals.append(at)
    for burst in range(1800, int(hours * 3600), 1800):
        arrivals += [burst + drawn.uniform(0, 20) for _ in range(12)]
    return sorted(arrivals)


def read(path: Path, thin: int, seed: int) -> list[float]:
    """Arrivals, in seconds: of a CSV file with a column TIMESTAMP, or of a text file with a number in each line."""
    drawn = random.Random(seed)
    with path.open() as lines:
        if path.suffix == ".csv":
            times = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in csv.DictReader(lines)]
        else:
            times = [float(line) for line in lines if not line.startswith("#")]
    times = sorted(time for time in times if drawn.random() * thin < 1)
    return [time - times[0] for time in times]


def report(name: str, arrivals: Sequence[float], start: float, seed: int) -> None:
    """Print a table."""
    gaps = [after - before for before, after in itertools.pairwise(arrivals)]
    clumped = statistics.pstdev(gaps) / statistics.fmean(gaps)
    minutes = arrivals[-1] / 60
    print(f"\n{name}: {len(arrivals)} sessions in {minutes:.0f} minutes, coefficient of variation {clumped:.1f}")
    print(f"{'':<22}{'warm':>8}{'idle runner-seconds':>22}{'per session':>13}{'runners idle':>14}{'most':>6}")
    policies: list[tuple[str, Sizing]] = [
        *((f"Fixed, {size}", Fixed(size)) for size in (2, 5, 10, 20)),
        *((f"KEDA, rate / {target}", Keda(target)) for target in (0.05, 0.02)),
        *((f"Auto, {percent} %", Auto(percent, start * math.exp(SPREAD**2 / 2))) for percent in (90, 95, 99)),
    ]
    for label, policy in policies:
        made = simulate(arrivals, policy, start, seed)
        print(
            f"{label:<22}{made.warm / made.sessions:>8.1%}{made.idle:>22,.0f}{made.idle / made.sessions:>13.1f}"
            f"{made.idle / arrivals[-1]:>14.1f}{made.peak:>6}"
        )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench pools",
        description=__doc__,
        epilog="The traces in bench/traces are excerpts of AzureLLMInferenceTrace_code.csv and _conv.csv, of the "
        "GitHub repository Azure/AzurePublicDataset (Microsoft Azure, CC-BY-4.0): --trace plays the whole files.",
    )
    parser.add_argument("--trace", type=Path, action="append", metavar="FILE", help="a .csv with a column TIMESTAMP")
    parser.add_argument("--thin", type=int, default=1, metavar="N", help="take one arrival in N, at random (1)")
    parser.add_argument("--start", type=float, default=11.0, metavar="S", help="seconds that a runner starts (11)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"A runner starts in {options.start:g} s, median. No pool is larger than {MOST}.")
    for path in options.trace or sorted(TRACES.glob("*.txt")):
        report(path.name, read(path, options.thin, options.seed), options.start, options.seed)
    if not options.trace:
        report("a made-up working day", office(options.seed), options.start, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
