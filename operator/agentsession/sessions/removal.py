"""How a runner pod goes, and how soon the next one may come. Pure."""

from datetime import datetime, timedelta

from agentsession.runners.podview import PodView

from .plan import Action, DeleteRunner

RETRY_LEAST, RETRY_MOST = timedelta(seconds=5), timedelta(minutes=5)
OVERDUE = timedelta(seconds=60)
"""A pod that is there so long after its grace period waits for a node that is not heard of: it is removed by force."""


CUT_OFF = 1
"""Seconds of grace for a pod whose agent must stop. By force its network's rules might go before its processes do."""


def remove(pod: PodView, now: datetime, grace_seconds: int | None = None) -> tuple[list[Action], timedelta | None]:
    """How to have a pod gone, and when to look whether it is. By force it may go on unseen on a node that is cut off:
    without a pod there is no grant, so the egress plane serves it nothing. A grace period is shortened, never extended.
    """
    if pod.gone_by is None or (grace_seconds is not None and grace_seconds < (pod.grace_seconds or 0)):
        return [DeleteRunner(pod.key, pod.uid, grace_seconds)], None
    left = pod.gone_by + OVERDUE - now
    return ([], left) if left > timedelta(0) else ([DeleteRunner(pod.key, pod.uid, grace_seconds=0)], None)


def retry_wait(ended: datetime, since: datetime, now: datetime) -> timedelta:
    """How long until a runner that ended may be made anew: at once would hammer, so the wait doubles each time.

    since: when the session was last ready, or was created.
    """
    wait = min(max(ended - since, RETRY_LEAST), RETRY_MOST) - (now - ended)
    return min(wait, RETRY_MOST)  # the clock may have been put back
