"""What is asked of a pool that sizes itself: when sessions came for it, and how long its runners took to start.

Both are read from objects, so whoever takes over begins with those that are still there.
"""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from statistics import fmean

from agentsession.kube.objects import KubeObject, uid_of
from agentsession.runners.podview import PodView

from .sizing import MEMORY, Sizer

STARTS = 50
"""Runners whose time to start is remembered."""
FIRST_START, LEAST_START = 10.0, 1.0
"""Seconds: assumed while no runner has started; and what is taken for less, as timestamps are whole seconds."""


class Demand:
    """Of one pool. size: what it was told to have last."""

    def __init__(self, size: int, now: datetime) -> None:
        self._last = now.timestamp() - MEMORY
        self._sizer = Sizer(self._last, size)
        self._counted: set[str] = set()
        self._starts: OrderedDict[str, float] = OrderedDict()

    def size(self, sessions: Iterable[KubeObject], runners: Iterable[PodView], warm: float, now: datetime) -> int:
        """Runners to keep. sessions: all that name the pool. runners: unclaimed ones. warm: see Sizer.size."""
        for pod in runners:
            if pod.ready_at is not None and pod.created is not None:
                self._starts[pod.uid] = (pod.ready_at - pod.created).total_seconds()
        while len(self._starts) > STARTS:
            self._starts.popitem(last=False)
        # However the times spread, the number that is on its way has the distribution that their mean gives it.
        start = max(LEAST_START, fmean(self._starts.values())) if self._starts else FIRST_START
        known = {uid_of(session): session for session in sessions}
        came = sorted(_created(session) for uid, session in known.items() if uid not in self._counted)
        self._counted = set(known)
        for at in came:
            if now.timestamp() - at < MEMORY:
                self._sizer.arrived(self._onwards(min(at, now.timestamp())), start)
        return self._sizer.size(self._onwards(now.timestamp()), start, warm)

    def _onwards(self, at: float) -> float:
        self._last = max(self._last, at)
        return self._last


def _created(session: KubeObject) -> float:
    return datetime.fromisoformat(session["metadata"]["creationTimestamp"]).timestamp()
