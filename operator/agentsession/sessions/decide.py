"""The decision: what to do next for a session, and what its status says then. Pure; every behaviour is a table test."""

from dataclasses import replace
from datetime import datetime, timedelta

from agentsession.api.base import is_true
from agentsession.api.conditions import FINISHED
from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession
from agentsession.api.values import parse_duration

from . import report
from .acceptance import refusal, unresolved
from .observed import Observed
from .plan import Action, Bind, CreateRunner, DeleteRunner, DeleteSession, Listen, Plan, Prompt
from .podview import PodView, Trouble
from .slots import AT_CAPACITY
from .turns import Progress, progress

POLL = timedelta(seconds=5)
"""How soon to look again for what no watch tells: a ConfigMap."""
WAIT = timedelta(seconds=30)
"""How soon a session at capacity looks again; a slot that becomes free wakes the oldest at once."""
MOST_REFUSALS = 3
"""A runner that begins to drain refuses too, and says so a moment later."""
RETRY_LEAST, RETRY_MOST = timedelta(seconds=5), timedelta(minutes=5)
STARTING = Trouble("Starting", "the runner is on its way: pod, containment check, connection of the agent")
"""One text for the whole way: each step of it that status told would cost a write."""


def decide(session: AgentSession, seen: Observed, install: Installation, now: datetime) -> Plan:
    """One step of a session's way: accepted, resolved, runner, bound, prompted, answered, finished, gone."""
    if is_true(session.status.conditions, FINISHED):
        return _after_finish(session, seen, now)
    talk = progress(session, seen.prompt, seen.runner, now)
    if session.spec.lifecycle == "Ephemeral" and talk.answered:
        return _finish(session, seen, talk, _turn_limit(session, seen) if talk.failed else None, now)
    if seen.pod is None or seen.pod.deleting:
        return _without_runner(session, seen, talk, install, now)
    return _with_pod(session, seen, seen.pod, talk, now)


def _without_runner(
    session: AgentSession, seen: Observed, talk: Progress, install: Installation, now: datetime
) -> Plan:
    if talk.turns:
        lost = Trouble("RunnerLost", "the runner pod went away; what it had been asked is not asked again")
        return _finish(session, seen, talk, lost, now)
    if (refused := refusal(session, install)) is not None:
        return Plan(report.refused(session, refused, now))
    if (missing := unresolved(session, seen)) is not None:
        again = POLL if missing.reason == "PromptNotFound" else None
        return Plan(report.unresolved(session, missing, now), requeue_after=again)
    if seen.pod is not None:
        return Plan(report.starting(session, seen, Trouble("Starting", "the previous runner pod is going away"), now))
    if not seen.namespace_ready:
        waiting = Trouble("NamespaceNotReady", "the namespace's NetworkPolicy is not in place yet")
        return Plan(report.starting(session, seen, waiting, now))
    if seen.free_slots < 1:
        most = seen.tenant.spec.sessions.max_concurrent if seen.tenant is not None else 0
        waiting = Trouble(AT_CAPACITY, f"the tenant's {most} sessions are running; this one waits its turn")
        return Plan(report.waiting(session, waiting, now), requeue_after=WAIT)
    return Plan(report.starting(session, seen, STARTING, now, started=True), [CreateRunner()])


def _with_pod(session: AgentSession, seen: Observed, pod: PodView, talk: Progress, now: datetime) -> Plan:
    if pod.grant is None or pod.grant.session_uid != session.metadata.uid:
        strange = Trouble("Starting", "a pod of the runner's name that the operator did not make is being removed")
        return Plan(report.starting(session, seen, strange, now), [DeleteRunner(pod.name, pod.uid)], POLL)
    if seen.tenant_problem is None and (seen.tenant is None or seen.tenant.metadata.uid != pod.grant.tenant_uid):
        return _finish(session, seen, talk, Trouble("TenantDeleted", "its AgentTenant was deleted"), now)
    if (over := _over_limit(session, seen, pod, now)) is not None:
        return _finish(session, seen, talk, over, now)
    if pod.ended:
        ended = pod.trouble or Trouble("RunnerExited", "the runner pod ended")
        return _finish(session, seen, talk, ended, now) if talk.turns else _retry(session, seen, pod, ended, now)
    if pod.ip is None or not pod.running:
        status = report.starting(session, seen, pod.trouble or STARTING, now)
        return Plan(status, requeue_after=_deadline(session, pod, now))
    return _with_runner(session, seen, pod, pod.ip, talk, now)


def _with_runner(session: AgentSession, seen: Observed, pod: PodView, ip: str, talk: Progress, now: datetime) -> Plan:
    state, listen = seen.runner, Listen(pod.uid, ip)
    deadline = _deadline(session, pod, now)
    if state is not None and state.phase == "Failed":
        failed = Trouble("AgentFailed", f"the agent process ended, it says: {state.message or 'nothing'}")
        return _finish(session, seen, talk, failed, now)
    if seen.refusals >= MOST_REFUSALS:
        refused = Trouble("AgentFailed", "the runner refuses to serve this session")
        return _finish(session, seen, talk, refused, now)
    if state is None or state.phase in ("Starting", "Draining"):  # which takes no prompt; its pod will say why it ends
        if talk.turns:  # an operator that has just begun to lead: nothing has changed but who listens
            return Plan(report.serving(session, seen, replace(talk, next=None), now), [listen], deadline)
        return Plan(report.starting(session, seen, STARTING, now), [listen], deadline)
    if talk.next is None and not talk.turns:
        missing = Trouble("PromptNotFound", seen.prompt_problem or "the prompt is not there yet")
        return Plan(report.unresolved(session, missing, now), [listen], POLL)
    actions: list[Action] = [listen]
    if state.session_uid is None:
        actions.append(Bind(pod.uid, ip))
    if talk.next is not None:
        actions.append(Prompt(pod.uid, ip, talk.next.uuid, talk.next.text))
    return Plan(report.serving(session, seen, talk, now), actions, deadline)


def _finish(session: AgentSession, seen: Observed, talk: Progress, why: Trouble | None, now: datetime) -> Plan:
    return Plan(report.finished(session, seen, talk, why, now), settle_usage=True, requeue_after=timedelta(0))


def _after_finish(session: AgentSession, seen: Observed, now: datetime) -> Plan:
    status = report.late_usage(session, seen)
    if seen.pod is not None and not seen.pod.deleting:
        return Plan(status, [DeleteRunner(seen.pod.name, seen.pod.uid)], _ttl(session, now))
    left = _ttl(session, now)
    if left is not None and left <= timedelta(0):
        return Plan(session.status, [DeleteSession()])
    return Plan(status, requeue_after=left)


def _retry(session: AgentSession, seen: Observed, pod: PodView, ended: Trouble, now: datetime) -> Plan:
    """A runner that ended before its first turn is made anew: at once would hammer, so the wait doubles each time."""
    since = report.unready_since(session) or now
    end = pod.ended_at or now
    wait = min(max(end - since, RETRY_LEAST), RETRY_MOST) - (now - end)
    status = report.starting(session, seen, ended, now)
    if wait <= timedelta(0):
        return Plan(status, [DeleteRunner(pod.name, pod.uid)])
    return Plan(status, requeue_after=wait)


def _over_limit(session: AgentSession, seen: Observed, pod: PodView, now: datetime) -> Trouble | None:
    if (over := _turn_limit(session, seen)) is not None:
        return over
    left = _deadline(session, pod, now)
    if left is not None and left <= timedelta(0):
        return Trouble("WallClockExceeded", f"limits.wallClock: {session.spec.limits.wall_clock} are over")
    return None


def _turn_limit(session: AgentSession, seen: Observed) -> Trouble | None:
    if not any(usage.stopped == "TurnLimit" for usage in seen.usage):
        return None
    limit = session.spec.limits.turns
    return Trouble("TurnLimitReached", f"limits.turns: the agent made {limit} model requests and asked for more")


def _deadline(session: AgentSession, pod: PodView, now: datetime) -> timedelta | None:
    if pod.started is None:
        return None
    return pod.started + parse_duration(session.spec.limits.wall_clock) - now


def _ttl(session: AgentSession, now: datetime) -> timedelta | None:
    finished, ttl = session.status.timings.finished, session.spec.ttl_seconds_after_finished
    return None if finished is None or ttl is None else finished + timedelta(seconds=ttl) - now
