"""What the leading operator counts of sessions. Nothing is labelled by session: series would outlive them."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agentsession.api.base import condition, is_true
from agentsession.api.conditions import FINISHED
from agentsession.api.session import AgentSessionStatus
from agentsession.kube.objects import KubeObject

_READY = Histogram(
    "agentsession_session_ready_seconds",
    "From a session's creation, which the API server cuts to whole seconds, to Ready; by kind of start.",
    ["start"],
    buckets=(0.5, 1, 2, 3, 5, 8, 13, 21, 34, 60, 120, 300, 600),
)
_FINISHED = Counter(
    "agentsession_sessions_finished_total", "Sessions that finished, by reason of Finished.", ["reason"]
)
_TURNS = Counter("agentsession_turns_total", "Turns that ended, by how.", ["state"])


def observe(before: AgentSessionStatus, after: AgentSessionStatus) -> None:
    """Count what a status that was just written tells anew."""
    requested, ready = after.timings.requested, after.timings.ready
    if ready is not None and ready != before.timings.ready and requested is not None:
        _READY.labels(after.start_type or "Cold").observe((ready - requested).total_seconds())
    finished = condition(after.conditions, FINISHED)
    if finished is not None and not is_true(before.conditions, FINISHED):
        _FINISHED.labels(finished.reason).inc()
    known = {turn.id for turn in before.turns if turn.finished is not None}
    for turn in after.turns:
        if turn.finished is not None and turn.id not in known:
            _TURNS.labels(turn.state).inc()


class Phases(Collector):
    """Sessions by phase, counted when asked; only while `leading`, so that replicas can be added up."""

    def __init__(self, sessions: Iterable[KubeObject], leading: Callable[[], bool]) -> None:
        self._sessions = sessions
        self._leading = leading

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family."""
        family = GaugeMetricFamily("agentsession_sessions", "AgentSession objects by phase.", labels=["phase"])
        if self._leading():
            phases = ((session.get("status") or {}).get("phase") or "Pending" for session in self._sessions)
            for phase, count in Tally(phases).items():
                family.add_metric([phase], count)
        yield family
