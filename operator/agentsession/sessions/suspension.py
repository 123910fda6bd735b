"""spec.suspend: what keeps the conversation, step by step, until the runner is gone. Pure.

Status first says that the suspension begins; then the runner is drained and says how far it came; then status says
that; and only then the pod goes. So whoever takes over in between finds what the next step is.
"""

from datetime import datetime, timedelta

from agentsession.api.base import is_true
from agentsession.api.conditions import SUSPENDED, unready_since
from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession, Turn
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import OUT_OF_TIME

from . import report
from .acceptance import refusal
from .observed import Observed
from .plan import Drain, Listen, Plan
from .removal import CUT_OFF, remove
from .turns import Progress, was_continued

DRAIN_PERIOD = timedelta(seconds=1)
"""Between two calls of a drain whose end is not heard."""
AT_ONCE = timedelta(0)


def suspend(session: AgentSession, seen: Observed, talk: Progress, install: Installation, now: datetime) -> Plan | None:
    """The next step of a suspension. None: there is none, nothing would be kept, or something else ends the runner."""
    leaving = report.leaving(session)
    if not (session.spec.suspend or leaving) or not report.kept(session):
        return None
    if seen.pod is not None and talk.turns and not session.status.turns:
        return None  # a warm runner is asked before status tells of it: that comes first, and where its files are
    pod, asked = seen.pod, any(turn.state == "Running" for turn in session.status.turns)
    if pod is None and not asked:
        return _without_runner(session, seen, install, now)
    timed_out = pod is not None and pod.trouble is not None and pod.trouble.reason == OUT_OF_TIME
    if pod is not None and not leaving and (timed_out or seen.widened_by is not None):
        return None
    if talk.running and pod is not None and pod.ip is not None and _may_tell_more(session, seen, pod, install, now):
        status = report.suspending(session, seen, talk.turns, talk.result, now)
        return Plan(status, [Listen(pod.uid, pod.ip), Drain(pod.uid, pod.ip)], DRAIN_PERIOD)
    status = report.suspending(session, seen, _cut_off(session, seen, talk, now), talk.result, now)
    if pod is None or asked or not leaving:
        return Plan(status, requeue_after=AT_ONCE)
    return Plan(status, *remove(pod, now, CUT_OFF if seen.widened_by is not None else None))


def _without_runner(session: AgentSession, seen: Observed, install: Installation, now: datetime) -> Plan | None:
    never_started = not session.status.turns
    if not session.spec.suspend or (never_started and refusal(session, install) is not None):
        return None
    status = report.suspended(session, seen, now)
    return Plan(status, settle_usage=not is_true(session.status.conditions, SUSPENDED))


def _may_tell_more(session: AgentSession, seen: Observed, pod: PodView, install: Installation, now: datetime) -> bool:
    """Whether the running turn's end is still to be heard: the runner can tell, has not yet, and has had less time than
    the pod's grace period."""
    state = seen.runner
    told_all = state is not None and state.phase == "Draining" and all(turn.phase != "Running" for turn in state.turns)
    since = unready_since(session.status.conditions) if report.leaving(session) else None
    overdue = since is not None and now - since >= timedelta(seconds=install.runner.grace_seconds)
    return pod.running and not told_all and not overdue


def _cut_off(session: AgentSession, seen: Observed, talk: Progress, now: datetime) -> list[Turn]:
    """The turns without their runner. One that a drained runner never heard of was not asked, and will be; any other
    one may have been acted on, and is gone on with."""
    drained = seen.runner is not None and seen.runner.phase == "Draining"
    heard = {turn.uuid for turn in seen.runner.turns} if seen.runner is not None else set()
    ended = {"state": "Interrupted", "finished": now}
    return [
        turn.model_copy(update=ended) if turn.state == "Running" else turn
        for turn in talk.turns
        if turn.state != "Running" or not drained or turn.uuid in heard or was_continued(session, turn)
    ]
