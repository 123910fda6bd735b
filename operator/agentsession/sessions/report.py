"""What status says at each step. Conditions, phase and messages change together, so they are made in one place."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agentsession.api.base import ObjectMeta, condition
from agentsession.api.conditions import (
    ACCEPTED,
    ACTIVE,
    CONTAINED,
    FINISHED,
    READY,
    RECONCILING,
    RESOLVED_REFS,
    STALLED,
    SUSPENDED,
    Mark,
    mark,
)
from agentsession.api.session import AgentSession, AgentSessionStatus, Phase, Result, Turn, WorkspaceStatus
from agentsession.resources.names import claim_name, runner_pod_name
from agentsession.resources.pod import workspace_sub_path
from agentsession.runners.trouble import POD_REFUSED, WIDENED, Trouble

from .observed import Observed
from .offer import COLD_START
from .turns import ENDED, Progress
from .turns import started as turns_started
from .usage import doubtful, heard_until, merged, settled

CHECKED = {"NotContained", "ContainmentCheckFailed"}
CONTAINMENT = {*CHECKED, WIDENED}
"""Reasons that say the pod is not held by its NetworkPolicy, or may not be; CHECKED: its own check has found that."""
SUSPENDING, RESUMING = "Suspending", "Resuming"
"""Reasons of Suspended=False: no runner has the session's conversation any more, or none yet."""


class Known(Protocol):
    """A session whose spec may not be readable."""

    @property
    def metadata(self) -> ObjectMeta: ...

    @property
    def status(self) -> AgentSessionStatus: ...


def refused(session: Known, why: Trouble, now: datetime) -> AgentSessionStatus:
    """The spec cannot work: nothing is tried again until it changes."""
    marks = [
        Mark(ACCEPTED, "False", why.reason, why.message),
        Mark(READY, "False", why.reason, why.message),
        Mark(STALLED, "True", why.reason, why.message),
        *_resuming(session),
    ]
    return _status(session, "Failed" if session.status.pod_name else "Pending", marks, now)


def unresolved(session: AgentSession, why: Trouble, now: datetime) -> AgentSessionStatus:
    """Something that the spec names is not there: its appearing brings the session back."""
    marks = [
        Mark(ACCEPTED, "True", "Accepted"),
        Mark(RESOLVED_REFS, "False", why.reason, why.message),
        *_not_ready(why),
        *_resuming(session),
    ]
    return _status(session, "Pending", marks, now)


def waiting(session: AgentSession, why: Trouble, now: datetime, ticket: int | None) -> AgentSessionStatus:
    """All is well, and it is not its turn."""
    status = _status(session, "Pending", [*_resolved(), *_not_ready(why), *_resuming(session)], now)
    status.ticket = ticket or status.ticket
    return status


def starting(
    session: AgentSession, seen: Observed, why: Trouble, now: datetime, *, started: bool = False
) -> AgentSessionStatus:
    """A runner is on its way, or has trouble on it. `started`: its pod is created by the same step.

    What the last runner ran into stands until the next one is past it. That it is contained is said with Ready, not
    before: each step on the way that is told costs a write.
    """
    passed = seen.pod is not None and seen.pod.contained
    if why.reason == "Starting" and not passed:
        why = _uncontained(session) or (_refused(session) if seen.pod is None else None) or why
    if why.reason == "Starting":
        why = _cold(session) or why
    marks = [*_resolved(), *_not_contained(why), *_not_ready(why), *_resuming(session)]
    status = _status(session, "Starting", marks, now)
    if started or seen.pod is not None:
        status.pod_name = runner_pod_name(session.metadata.name, session.metadata.uid)
        status.pod_namespace = None
        status.start_type = "Resumed" if session.status.turns else "Cold"
        status.timings.claimed = None
        _claimed(status, seen)
    return status


def silent(session: AgentSession, why: Trouble, now: datetime) -> AgentSessionStatus:
    """The runner had accepted work, and nobody knows what has become of it."""
    return _status(session, session.status.phase, [*_resolved(), *_not_ready(why)], now)


def serving(session: AgentSession, seen: Observed, talk: Progress, now: datetime) -> AgentSessionStatus:
    """The agent has accepted work: a turn runs, or the next prompt is awaited."""
    turns = turns_started(talk, now)
    active = any(turn.state == "Running" for turn in turns)
    marks = [
        *_resolved(),
        *_contained(seen, None),
        Mark(READY, "True", "Connected", "the agent is connected and has accepted work"),
        Mark(ACTIVE, "True", "TurnActive") if active else Mark(ACTIVE, "False", "WaitingForInput"),
        *_not_suspended(session, seen),
    ]
    status = _talked(_status(session, "Running" if active else "Idle", marks, now), seen, turns, talk.result)
    status.timings.ready = status.timings.ready or now
    _placed(status, seen)
    _claimed(status, seen)
    return status


def suspending(
    session: AgentSession, seen: Observed, turns: list[Turn], result: Result | None, now: datetime
) -> AgentSessionStatus:
    """The runner is on its way out."""
    why = Trouble(SUSPENDING, "the runner is drained, then its pod goes")
    marks = [
        *_resolved(),
        *_contained(seen, None),
        *_not_ready(why),
        Mark(SUSPENDED, "False", SUSPENDING, why.message),
    ]
    return _talked(_status(session, "Suspending", marks, now), seen, turns, result)


def suspended(session: AgentSession, seen: Observed, now: datetime) -> AgentSessionStatus:
    """There is no runner, as was asked. Nothing is ready then, and nothing on its way."""
    where = session.status.workspace
    kept = f"files and conversation are on PersistentVolumeClaim {where.claim_name}" if where else "it had not started"
    marks = [
        Mark(ACCEPTED, "True", "Accepted"),
        Mark(SUSPENDED, "True", "Suspended", f"{kept}; it goes on when spec.suspend is false"),
    ]
    status = _talked(_status(session, "Suspended", marks, now), seen, list(session.status.turns), session.status.result)
    status.usage = settled(status.usage, seen.usage)
    status.pod_name = status.pod_namespace = None
    return status


def finished(
    session: AgentSession, seen: Observed, talk: Progress, why: Trouble | None, now: datetime
) -> AgentSessionStatus:
    """The end. Well: the last answer is there. Else `why`, or the reason of the turn that failed."""
    failed = next((turn for turn in reversed(talk.turns) if turn.state == "Failed"), None)
    if why is None and failed is not None:
        why = Trouble("TurnFailed", f"the agent says: {failed.reason or 'nothing'}")
    marks = [*_resolved(), *_contained(seen, why)]
    if why is None:
        marks += [Mark(READY, "True", "Completed", "the session has its answer"), Mark(FINISHED, "True", "Completed")]
    else:
        marks += [
            Mark(READY, "False", why.reason, why.message),
            Mark(FINISHED, "True", why.reason, why.message),
            Mark(STALLED, "True", why.reason, why.message),
        ]
    turns = [_ended(turn, why, now) for turn in talk.turns]
    result = talk.result
    if why is not None and (talk.open or result is None):
        result = Result(text=result.text if result else "", is_error=True, reason=why.reason)
    status = _talked(_status(session, "Succeeded" if why is None else "Failed", marks, now), seen, turns, result)
    status.usage = settled(status.usage, seen.usage)
    status.timings.finished = now
    _placed(status, seen)
    _claimed(status, seen)  # an operator that died after the claim has not told of it
    return status


def late_usage(session: AgentSession, seen: Observed) -> AgentSessionStatus:
    """After the end only usage can still move: a request that was under way is billed when it is cut off, or nobody
    knows what it used if its egress process is gone.

    What may be changed in a finished session (its ttl, its limits) has nothing left to say in status.
    """
    gone = doubtful(session.status.usage) & seen.lost_meters
    reports = [item for item in seen.usage if item.meter.incarnation not in gone]
    usage = settled(merged(session.status.usage, reports, gone), reports)
    return session.status.model_copy(update={"usage": usage, "observed_generation": session.metadata.generation})


def resuming(session: Known) -> bool:
    """Whether the conversation is with no runner: the last one was suspended, and the next one has not taken it up."""
    said = condition(session.status.conditions, SUSPENDED)
    away = said is not None and (said.status == "True" or said.reason in (SUSPENDING, RESUMING))
    return away and bool(session.status.turns)


def leaving(session: Known) -> bool:
    """Whether a suspension has begun and the runner is not gone yet."""
    said = condition(session.status.conditions, SUSPENDED)
    return said is not None and said.reason == SUSPENDING


def kept(session: Known) -> bool:
    """Whether nothing is lost with the runner: files and conversation are on a claim, or there is none yet."""
    return session.status.workspace is not None or not session.status.turns


def _status(session: Known, phase: Phase, marks: Sequence[Mark], now: datetime) -> AgentSessionStatus:
    status = session.status.model_copy(update={"timings": session.status.timings.model_copy()})
    status.phase = phase
    status.observed_generation = session.metadata.generation
    status.conditions = mark(session.status.conditions, marks, session.metadata.generation, now)
    status.timings.requested = session.metadata.creation_timestamp
    return status


def _talked(status: AgentSessionStatus, seen: Observed, turns: list[Turn], result: Result | None) -> AgentSessionStatus:
    status.turns = turns
    status.turns_completed = sum(turn.state in ENDED for turn in turns)
    status.result = result
    usage = merged(status.usage, seen.usage, seen.lost_meters)
    status.usage = heard_until(status.usage, usage, turns, seen.usage_until)
    first = [usage.first_request for usage in seen.usage if usage.first_request is not None]
    status.timings.first_model_request = min([*first, *_known(status)], default=None)
    if seen.runner is not None and status.session_id is None:  # a runner that changes its mind causes no writes
        status.session_id = seen.runner.session_id
    return status


def _known(status: AgentSessionStatus) -> list[datetime]:
    first = status.timings.first_model_request
    return [first] if first is not None else []


def _placed(status: AgentSessionStatus, seen: Observed) -> None:
    tenant, pod = seen.tenant, seen.pod
    if status.workspace is None and tenant is not None and tenant.spec.workspace is not None and pod is not None:
        name = claim_name(tenant.metadata.name)
        status.workspace = WorkspaceStatus(claim_name=name, sub_path=workspace_sub_path(pod.uid))


def _claimed(status: AgentSessionStatus, seen: Observed) -> None:
    grant = seen.pod.grant if seen.pod is not None else None
    if seen.pod is not None and grant is not None and grant.claimed is not None:
        status.pod_name = seen.pod.name
        status.pod_namespace = grant.pod_namespace
        status.start_type = "Warm"
        status.timings.claimed = grant.claimed


def _ended(turn: Turn, why: Trouble | None, now: datetime) -> Turn:
    if turn.state in ENDED:
        return turn
    reason = why.reason if why is not None else ""
    return turn.model_copy(update={"state": "Failed", "finished": now, "reason": reason})


def _resolved() -> list[Mark]:
    return [Mark(ACCEPTED, "True", "Accepted"), Mark(RESOLVED_REFS, "True", "ResolvedRefs")]


def _resuming(session: Known) -> list[Mark]:
    why = "the next runner takes the conversation up again"
    return [Mark(SUSPENDED, "False", RESUMING, why)] if resuming(session) else []


def _not_suspended(session: AgentSession, seen: Observed) -> list[Mark]:
    if not session.spec.suspend or (seen.tenant is not None and seen.tenant.spec.workspace is not None):
        return []
    tenant = session.spec.tenant_ref.name
    why = (
        f"spec.suspend: AgentTenant {tenant} has no spec.workspace, so nothing would be kept and the session goes on: "
        "delete it to end it; sessions that are to be suspended need a tenant with a workspace from their start"
    )
    return [Mark(SUSPENDED, "False", "NoWorkspace", why)]


def _contained(seen: Observed, why: Trouble | None) -> list[Mark]:
    if seen.pod is not None and seen.pod.contained and (why is None or why.reason != WIDENED):
        return [Mark(CONTAINED, "True", "Verified", "the runner reached the egress plane and nothing else")]
    return _not_contained(why) if why is not None else []


def _not_contained(why: Trouble) -> list[Mark]:
    return [Mark(CONTAINED, "False", why.reason, why.message)] if why.reason in CONTAINMENT else []


def _uncontained(session: AgentSession) -> Trouble | None:
    """What the last containment check found: it stands until another one ends well."""
    last = condition(session.status.conditions, CONTAINED)
    return Trouble(last.reason, last.message) if last is not None and last.reason in CHECKED else None


def _cold(session: AgentSession) -> Trouble | None:
    """Why its pool had no runner for it: it stands while one is started for it alone."""
    last = condition(session.status.conditions, READY)
    return Trouble(last.reason, last.message) if last is not None and last.reason == COLD_START else None


def _refused(session: AgentSession) -> Trouble | None:
    """That the API server refused the pod: it stands until one is created."""
    last = condition(session.status.conditions, READY)
    return Trouble(last.reason, last.message) if last is not None and last.reason == POD_REFUSED else None


def _not_ready(why: Trouble) -> list[Mark]:
    return [
        Mark(READY, "False", why.reason, why.message),
        Mark(RECONCILING, "True", why.reason, why.message),
    ]
