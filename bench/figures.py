"""The figures of sessions that ran: what each took and cost, in a table beside the bars."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .node import Sample
from .timeline import STEPS

MAX_WRITES = 8.0
MAX_READY = 5.0
MAX_CPU = 8.0
"""Bars: API writes and milliseconds of the operator's CPU per session; seconds from create to Ready."""


@dataclass(frozen=True)
class Batch:
    """Sessions that ran, and the processes before and after them, `seconds` apart."""

    moments: Sequence[Mapping[str, float]]
    timings: Sequence[Mapping[str, str]]
    before: Mapping[str, Sample]
    after: Mapping[str, Sample]
    seconds: float

    def spans(self, start: str, end: str) -> list[float]:
        """Seconds between two steps, of every session that was seen at both."""
        return [at[end] - at[start] for at in self.moments if start in at and end in at]

    def cpu(self, role: str) -> float:
        """Seconds of CPU of the processes whose role begins so."""
        return sum(self.after[name].cpu - self.before[name].cpu for name in self.after if name.startswith(role))

    def cpu_per_session(self, role: str, idle: "Batch") -> float:
        """Milliseconds, without what they use when nothing happens."""
        busy = self.cpu(role) - idle.cpu(role) * self.seconds / idle.seconds
        return 1000 * busy / len(self.moments)

    def writes(self) -> Counter[str]:
        """The leader's API writes per session, by what was written."""
        after, before = self.after["leader"].writes, self.before["leader"].writes
        count = len(self.moments)
        return Counter(
            {f"{verb} {kind}": (after[verb, kind] - before.get((verb, kind), 0)) / count for verb, kind in after}
        )


def verdict(value: float, bar: float) -> str:
    """How a figure stands to its bar: at most `bar`."""
    return "met" if value <= bar else f"missed by {value - bar:.2f}"


def report(resting: Batch, alone: Batch, together: Batch) -> None:
    """Print the tables."""
    groups = (alone, together)
    print(f"{'':<46}{f'{len(alone.moments)} alone':>14}{f'{len(together.moments)} at once':>16}    bar")
    print(f"{'median and 95th percentile, s':<46}{'p50':>7}{'p95':>7}{'p50':>9}{'p95':>7}")
    ready = [batch.spans("created", "ready") for batch in groups]
    bar = f"    {MAX_READY:g} for p95 alone: {verdict(p95(ready[0]), MAX_READY)}"
    _spread("create to Ready, as a client sees it", ready, bar)
    _spread("requested to ready, status.timings (*)", [_timings(batch) for batch in groups])
    _spread("create to finished", [batch.spans("created", "finished") for batch in groups])
    before = "created"
    for step, what in STEPS.items():
        _spread(f"  {what}", [batch.spans(before, step) for batch in groups])
        before = step
    print(f"{'per session':<46}{'mean':>7}{'':>7}{'mean':>9}")
    totals = [batch.writes().total() for batch in groups]
    _means("API writes by the operator (**)", totals, 2, f"{MAX_WRITES:g}: {verdict(totals[0], MAX_WRITES)}")
    for kind in sorted(alone.writes() | together.writes()):
        _means(f"  {kind}", [batch.writes()[kind] for batch in groups], 2)
    operator = [batch.cpu_per_session("leader", resting) for batch in groups]
    _means("operator's CPU, ms", operator, 1, f"{MAX_CPU:g}: {verdict(operator[0], MAX_CPU)}")
    _means("standing-by operator's CPU, ms", [batch.cpu_per_session("standby", resting) for batch in groups], 1)
    _means("egress processes' CPU together, ms", [batch.cpu_per_session("egress", resting) for batch in groups], 1)
    print("per process, idle and afterwards")
    for role, sample in together.after.items():
        rate = 1000 * resting.cpu(role) / resting.seconds
        print(f"  {role:<12} idle CPU {rate:>5.1f} ms/s   memory {sample.memory / 2**20:>5.0f} MiB")
    print("(*) the API server cuts creation times to whole seconds: up to 1 s too long")
    print("(**) until the pod is gone, its deletion and Events included; Leases are not, they are written in any case")


def _spread(label: str, groups: Sequence[Sequence[float]], bar: str = "") -> None:
    cells = [f"{statistics.median(values):.2f}" if values else "-" for values in groups]
    tails = [f"{p95(values):.2f}" if values else "-" for values in groups]
    print(f"{label:<46}{cells[0]:>7}{tails[0]:>7}{cells[1]:>9}{tails[1]:>7}{bar}")


def _means(label: str, values: Sequence[float], digits: int, bar: str = "") -> None:
    alone, together = (f"{value:.{digits}f}" for value in values)
    print(f"{label:<46}{alone:>7}{'':>7}{together:>9}{'':>7}    {bar}".rstrip())


def p95(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def _timings(batch: Batch) -> list[float]:
    return [
        (datetime.fromisoformat(item["ready"]) - datetime.fromisoformat(item["requested"])).total_seconds()
        for item in batch.timings
        if "ready" in item
    ]
