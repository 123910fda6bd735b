"""What ends a session before its answer: its limits, its agent, or whatever ends its pod. Pure."""

from datetime import datetime, timedelta

from agentsession.api.session import AgentSession
from agentsession.api.values import parse_duration
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import OUT_OF_TIME, Trouble
from agentsession_runner.protocol import State

from .acceptance import not_consented
from .observed import Observed


def over_limit(session: AgentSession, seen: Observed, pod: PodView, now: datetime) -> Trouble | None:
    """The limit that a running session has reached."""
    if (over := _turn_limit(session, seen)) is not None:
        return over
    left = deadline(session, pod, now)
    if left is not None and left <= timedelta(0):
        return Trouble(OUT_OF_TIME, f"limits.wallClock: {session.spec.limits.wall_clock} are over")
    return None


def interrupted(seen: Observed) -> bool:
    """Something has ended the runner, and with it the turn: that explains the end, not the runner's last words."""
    draining = seen.runner is not None and seen.runner.phase == "Draining"
    return draining or seen.pod is None or seen.pod.deleting or seen.pod.ended


def failure(session: AgentSession, seen: Observed) -> Trouble | None:
    """What explains a turn that failed; None: the agent's own words do."""
    if (limit := _turn_limit(session, seen)) is not None:
        return limit
    if (withdrawn := no_longer_consented(session, seen)) is not None:
        return withdrawn
    return agent_failed(seen.runner) if seen.runner is not None and seen.runner.phase == "Failed" else None


def no_longer_consented(session: AgentSession, seen: Observed) -> Trouble | None:
    """That the tenant does not let the runner be where it is any more."""
    if seen.pod is None or seen.tenant is None:
        return None
    return not_consented(session, seen.tenant, seen.pod.namespace)


def agent_failed(state: State) -> Trouble:
    """The agent process is gone."""
    return Trouble("AgentFailed", f"the agent process ended, it says: {state.message or 'nothing'}")


def resume_failed(state: State) -> Trouble:
    """The agent process does not take up its conversation: a fresh one would know nothing of what was said."""
    why = f"the conversation cannot be taken up, the agent process says: {state.message or 'nothing'}"
    return Trouble("ResumeFailed", why)


def deadline(session: AgentSession, pod: PodView, now: datetime) -> timedelta | None:
    """The time left of a wallClock that was lowered. What the pod was made with its node holds it to, by its own clock:
    a step of this machine's clock ends nothing."""
    limit = parse_duration(session.spec.limits.wall_clock)
    if pod.started is None:
        return None
    claimed = pod.grant.claimed if pod.grant is not None else None
    due = (claimed or pod.started) + limit
    if pod.deadline is not None and pod.started + pod.deadline <= due:
        return None
    return due - now


def _turn_limit(session: AgentSession, seen: Observed) -> Trouble | None:
    if not any(usage.stopped == "TurnLimit" for usage in seen.usage):
        return None
    limit = session.spec.limits.turns
    return Trouble("TurnLimitReached", f"limits.turns: the agent made {limit} model requests and asked for more")
