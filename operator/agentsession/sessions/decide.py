"""The decision: what to do next for a session, and what its status says then. Pure; every behaviour is a table test."""

from dataclasses import replace
from datetime import datetime, timedelta

from agentsession.api.base import condition, is_true
from agentsession.api.conditions import FINISHED, READY, unready_since
from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession
from agentsession.api.values import parse_duration
from agentsession.resources.network import widened_message
from agentsession.runners.claimants import POOL_EXHAUSTED
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import OUT_OF_TIME, WIDENED, Trouble
from agentsession_runner.protocol import State

from . import report
from .acceptance import refusal, unresolved
from .ends import agent_failed, deadline, failure, interrupted, no_longer_consented, over_limit, resume_failed
from .holdup import held_up
from .observed import Observed
from .offer import Offer
from .plan import Action, Bind, Claim, CreateRunner, DeleteRunner, DeleteSession, Listen, Plan, Prompt
from .removal import CUT_OFF, remove, retry_wait
from .slots import AT_CAPACITY
from .suspension import suspend
from .turns import Progress, progress
from .usage import doubtful, uncounted

POLL = timedelta(seconds=5)
"""How soon to look again for what no watch tells: a ConfigMap, an egress process that is gone."""
WAIT = timedelta(seconds=30)
"""How soon a session at capacity looks again; a slot that becomes free wakes the oldest at once."""
MOST_REFUSALS = 3
"""A runner that begins to drain refuses too, and says so a moment later."""
STARTING = Trouble("Starting", "the runner is on its way: pod, containment check, connection of the agent")
"""One text for the whole way: each step of it that status told would cost a write."""


def decide(session: AgentSession, seen: Observed, install: Installation, now: datetime) -> Plan:
    """One step of a session's way: accepted, resolved, runner, bound, prompted, answered, finished, gone."""
    plan = _next_step(session, seen, install, now)
    strays = [DeleteRunner(stray.key, stray.uid) for stray in seen.strays if not stray.deleting]
    return replace(plan, actions=[*strays, *plan.actions]) if strays else plan


def _next_step(session: AgentSession, seen: Observed, install: Installation, now: datetime) -> Plan:
    if is_true(session.status.conditions, FINISHED):
        return _after_finish(session, seen, now)
    talk = progress(session, seen.prompt, None if _is_anothers(session, seen.runner) else seen.runner, now)
    if session.spec.lifecycle == "Ephemeral" and talk.answered and not (talk.failed and interrupted(seen)):
        return _finish(session, seen, talk, failure(session, seen) if talk.failed else None, now)
    if seen.widened_by is not None and _drained_by(session, seen.pod, talk):
        return _finish(session, seen, talk, _widened(seen.widened_by), now)
    if seen.pod is None or seen.pod.deleting:
        return suspend(session, seen, talk, install, now) or _without_runner(session, seen, talk, install, now)
    return _with_pod(session, seen, seen.pod, talk, install, now)


def _without_runner(
    session: AgentSession, seen: Observed, talk: Progress, install: Installation, now: datetime
) -> Plan:
    if _engaged(session, seen, talk):
        lost = Trouble("RunnerLost", "the runner pod went away; what it had been asked is not asked again")
        told = seen.pod.trouble if seen.pod is not None else None
        return _finish(session, seen, talk, lost if told is None or told.reason == "RunnerExited" else told, now)
    if seen.namespace_terminating:
        going = Trouble("NamespaceNotReady", f"namespace {session.metadata.namespace} is being deleted")
        return Plan(report.waiting(session, going, now, None))
    if (refused := refusal(session, install)) is not None:
        return Plan(report.refused(session, refused, now))
    if (missing := unresolved(session, seen)) is not None:
        again = POLL if missing.reason == "PromptNotFound" else None
        return Plan(report.unresolved(session, missing, now), requeue_after=again)
    if seen.pod is not None:
        leaving = Trouble("Starting", "the previous runner pod is going away")
        return Plan(report.starting(session, seen, leaving, now), *remove(seen.pod, now))
    if not seen.namespace_ready:
        waiting = Trouble("NamespaceNotReady", "the namespace's NetworkPolicy is not in place yet")
        return Plan(report.starting(session, seen, waiting, now))
    if seen.widened_by is not None:
        return Plan(report.starting(session, seen, _widened(seen.widened_by), now))
    if seen.free_slots < 1:
        most = seen.tenant.spec.sessions.max_concurrent if seen.tenant is not None else 0
        waiting = Trouble(AT_CAPACITY, f"the tenant's {most} sessions are running; this one waits its turn")
        return _waits(session, waiting, now)
    return _start(session, seen, now)


def _start(session: AgentSession, seen: Observed, now: datetime) -> Plan:
    """Nothing is in the way of a runner: a warm one if the pool has it, else one of its own."""
    offer = seen.offer or Offer()
    if offer.runner is not None:
        return _claim(session, seen, offer.runner, now)
    if offer.none is not None and offer.none.reason == POOL_EXHAUSTED:
        return _waits(session, offer.none, now, seen.ticket)
    status = report.starting(session, seen, offer.none or STARTING, now, started=True)
    return Plan(status, [CreateRunner()], timedelta(0))  # what befell the pod before its grant, no watch tells


def _waits(session: AgentSession, why: Trouble, now: datetime, ticket: int | None = None) -> Plan:
    """Whoever frees what it waits for wakes those that say so in status: once it does, it looks again, so that what
    became free meanwhile is not missed."""
    ready = condition(session.status.conditions, READY)
    told = ready is not None and ready.reason == why.reason
    return Plan(report.waiting(session, why, now, ticket), requeue_after=WAIT if told else timedelta(0))


def _claim(session: AgentSession, seen: Observed, runner: PodView, now: datetime) -> Plan:
    """Nothing is told yet: what the runner answers is part of the first thing that status says."""
    pool_uid = runner.membership.pool_uid if runner.membership is not None else ""
    deadline = now - (runner.started or now) + parse_duration(session.spec.limits.wall_clock)
    claim = Claim(pool_uid, runner.key, runner.uid, deadline)
    return Plan(session.status, [claim], at_once=True, settle_usage=seen.claimed_before)


def _engaged(session: AgentSession, seen: Observed, talk: Progress) -> bool:
    """What was asked is known to one runner only, and is lost with it."""
    asked = bool(talk.turns) or any(usage.first_request is not None for usage in seen.usage)
    return asked and not report.resuming(session)


def _drained_by(session: AgentSession, pod: PodView | None, talk: Progress) -> bool:
    """Whether a suspension still lets the agent go on in that pod."""
    return pod is not None and not pod.ended and report.leaving(session) and bool(talk.turns)


def _with_pod(
    session: AgentSession, seen: Observed, pod: PodView, talk: Progress, install: Installation, now: datetime
) -> Plan:
    if pod.grant is None or pod.grant.session_uid != session.metadata.uid:
        strange = Trouble("Starting", "a pod of the runner's name that the operator did not make is being removed")
        return Plan(report.starting(session, seen, strange, now), *remove(pod, now))
    if seen.tenant_problem is None and (seen.tenant is None or seen.tenant.metadata.uid != pod.grant.tenant_uid):
        return _finish(session, seen, talk, Trouble("TenantDeleted", "its AgentTenant was deleted"), now)
    if (withdrawn := no_longer_consented(session, seen)) is not None:
        return _give_up(session, seen, pod, talk, withdrawn, now, CUT_OFF)
    if (over := over_limit(session, seen, pod, now)) is not None:
        return _finish(session, seen, talk, over, now)
    if (suspending := suspend(session, seen, talk, install, now)) is not None:
        return suspending
    engaged = _engaged(session, seen, talk)
    if pod.ended:
        ended = pod.trouble or Trouble("RunnerExited", "the runner pod ended")
        final = engaged or ended.reason == OUT_OF_TIME
        return _finish(session, seen, talk, ended, now) if final else _retry(session, seen, pod, ended, now)
    if seen.widened_by is not None:
        return _give_up(session, seen, pod, talk, _widened(seen.widened_by), now, CUT_OFF)
    if pod.ip is None or not pod.running:
        if engaged:  # it is just ending: the pod says so next
            return Plan(session.status, requeue_after=deadline(session, pod, now))
        why, again = held_up(pod, seen.claim, now)
        status = report.starting(session, seen, why or STARTING, now)
        return Plan(status, requeue_after=_soonest(again, deadline(session, pod, now)))
    return _with_runner(session, seen, pod, pod.ip, talk, now)


def _with_runner(session: AgentSession, seen: Observed, pod: PodView, ip: str, talk: Progress, now: datetime) -> Plan:
    state, listen = seen.runner, Listen(pod.uid, ip)
    left = deadline(session, pod, now)
    if state is not None and state.phase == "Failed":
        why = resume_failed(state) if report.resuming(session) else agent_failed(state)
        return _finish(session, seen, talk, why, now)
    if _is_anothers(session, state):
        other = Trouble("RunnerLost", "the process in the runner pod says that it serves another session")
        return _give_up(session, seen, pod, talk, other, now)
    if state is not None and state.phase == "Draining":  # something ends it, and the pod will say what
        return Plan(session.status, [listen], left)
    if seen.refusals >= MOST_REFUSALS:
        refused = Trouble("AgentFailed", "the runner refuses to serve this session")
        end = _give_up(session, seen, pod, talk, refused, now)
        return end if pod.warm else _finish(session, seen, talk, refused, now)
    if pod.node_silent:
        return _on_a_silent_node(session, seen, pod, talk, listen, now)
    if _to_be_bound(pod, state, talk):
        first = talk.next if pod.warm and not talk.turns else None
        return Plan(session.status, [Bind(pod.uid, ip, first)], left, at_once=True)
    if state is None or state.phase == "Starting":
        if _engaged(
            session, seen, talk
        ):  # an operator that has just begun to lead: nothing has changed but who listens
            return Plan(report.serving(session, seen, replace(talk, next=None), now), [listen], left)
        return Plan(report.starting(session, seen, STARTING, now), [listen], left)
    if talk.next is None and not talk.turns:
        missing = Trouble("PromptNotFound", seen.prompt_problem or "the prompt is not there yet")
        return Plan(report.unresolved(session, missing, now), [listen], POLL)
    actions: list[Action] = [listen]
    if talk.next is not None:
        actions.append(Prompt(pod.uid, ip, talk.next.uuid, talk.next.text))
    status = report.serving(session, seen, talk, now)
    counting = any(ended is not None for _, ended in uncounted(status.usage, status.turns))
    return Plan(status, actions, _soonest(left, POLL if counting else None))


def _to_be_bound(pod: PodView, state: State | None, talk: Progress) -> bool:
    """Whether to tell the runner now whose it is: its agent is connected. One that was claimed need not say so."""
    if not talk.turns and talk.next is None:
        return False
    claimed = pod.warm and not talk.turns
    return claimed or (state is not None and state.phase == "Ready" and state.session_uid is None)


def _widened(policy: str) -> Trouble:
    return Trouble(WIDENED, widened_message(policy))


def _finish(session: AgentSession, seen: Observed, talk: Progress, why: Trouble | None, now: datetime) -> Plan:
    return Plan(report.finished(session, seen, talk, why, now), settle_usage=True, requeue_after=timedelta(0))


def _after_finish(session: AgentSession, seen: Observed, now: datetime) -> Plan:
    status = report.late_usage(session, seen)
    left = _ttl(session, now)
    if left is not None and left <= timedelta(0):
        if seen.pod is None or seen.pod.deleting:
            return Plan(session.status, [DeleteSession()])
        left = None  # the pod's deletion brings the session back
    actions, again = remove(seen.pod, now, _grace(session, seen)) if seen.pod is not None else ([], None)
    return Plan(status, actions, _soonest(left, again, POLL if doubtful(status.usage) else None))


def _on_a_silent_node(
    session: AgentSession, seen: Observed, pod: PodView, talk: Progress, listen: Listen, now: datetime
) -> Plan:
    """The agent may go on there: what it was asked is waited for until the cluster gives the node up."""
    why = "the node of the runner is not heard of"
    if not _engaged(session, seen, talk):
        silent = Trouble("NodeNotReady", f"{why}: another runner is made")
        return Plan(report.starting(session, seen, silent, now), *remove(pod, now))
    silent = Trouble("NodeNotReady", f"{why}: if it comes back, the session goes on; else the cluster removes the pod")
    return Plan(report.silent(session, silent, now), [listen])


def _is_anothers(session: AgentSession, state: State | None) -> bool:
    """What it says is not about this session then, its answers least of all."""
    return state is not None and state.session_uid not in (None, session.metadata.uid)


def _give_up(
    session: AgentSession,
    seen: Observed,
    pod: PodView,
    talk: Progress,
    why: Trouble,
    now: datetime,
    grace_seconds: int | None = None,
) -> Plan:
    """A runner that must not go on: the session ends with it, or gets another if this one was asked nothing."""
    if _engaged(session, seen, talk):
        return _finish(session, seen, talk, why, now)
    return Plan(report.starting(session, seen, why, now), *remove(pod, now, grace_seconds))


def _retry(session: AgentSession, seen: Observed, pod: PodView, ended: Trouble, now: datetime) -> Plan:
    """A runner that ended before its first turn is made anew, after a while."""
    status = report.starting(session, seen, ended, now)
    if pod.warm:  # others like it are ready
        return Plan(status, *remove(pod, now))
    wait = retry_wait(pod.ended_at or now, unready_since(session.status.conditions) or now, now)
    if wait > timedelta(0):
        return Plan(status, requeue_after=wait)
    return Plan(status, *remove(pod, now))


def _soonest(*waits: timedelta | None) -> timedelta | None:
    return min((wait for wait in waits if wait is not None), default=None)


def _grace(session: AgentSession, seen: Observed) -> int | None:
    """An agent that reaches more than it should, or did, has no time to end well."""
    finished = condition(session.status.conditions, FINISHED)
    widened = seen.widened_by is not None or (finished is not None and finished.reason == WIDENED)
    return CUT_OFF if widened else None


def _ttl(session: AgentSession, now: datetime) -> timedelta | None:
    finished, ttl = session.status.timings.finished, session.spec.ttl_seconds_after_finished
    return None if finished is None or ttl is None else finished + timedelta(seconds=ttl) - now
