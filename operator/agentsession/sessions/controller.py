"""AgentSession: gives each session a runner, its prompts, and a status that says how it went."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from agentsession.api.base import KubeModel, condition, is_true, spec_errors, to_json
from agentsession.api.conditions import FINISHED, READY, unready_since
from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession, AgentSessionStatus
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError, ForbiddenError, InvalidError
from agentsession.kube.events import EventRecorder
from agentsession.kube.objects import Key, KubeObject, is_terminating, key_of, uid_of
from agentsession.kube.refusals import explained, next_try
from agentsession.kube.resource import AGENTSESSIONS
from agentsession.runners.claimants import POOL_EXHAUSTED
from agentsession.runners.listeners import Listeners
from agentsession.runners.trouble import POD_REFUSED, Trouble
from agentsession.usage.meters import Meters
from agentsession_runner import logs

from . import metrics, report
from .act import Actor
from .announce import announcements
from .decide import decide
from .observe import Observer
from .observed import Observed
from .plan import Once, Plan
from .usage import only_counted

MOST_AT_ONCE = 5
"""Claims and binds in one step, before the queue has it again: a pool's runners may go as fast as they are tried."""
USAGE_PERIOD = timedelta(seconds=10)
"""Shortest time between two writes that change nothing but usage."""

logger = logging.getLogger(__name__)


class _Known(KubeModel):
    """A session whose spec these models do not admit."""

    status: AgentSessionStatus = AgentSessionStatus()


class NotLeadingError(Exception):
    """Another operator may be at work on the same things."""

    def __init__(self) -> None:
        super().__init__("the Lease is lost")


class SessionController:
    """Reconciles one session at a time per key; see decide.py for what it does and when.

    line_changed: told of a session that has begun to wait for a pool's runner, or does so no longer.
    """

    def __init__(
        self,
        api: ApiClient,
        caches: Caches,
        observer: Observer,
        actor: Actor,
        listeners: Listeners,
        meters: Meters,
        recorder: EventRecorder,
        install: Installation,
        leading: Callable[[], bool],
        line_changed: Callable[[KubeObject], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._caches = caches
        self._observer = observer
        self._actor = actor
        self._listeners = listeners
        self._meters = meters
        self._recorder = recorder
        self._install = install
        self._leading = leading
        self._line_changed = line_changed
        self._now = now
        self._written: dict[Key, float] = {}

    async def reconcile(self, key: Key) -> timedelta | None:
        """One step. Returns when to look again if nothing happens; raises what the queue should retry."""
        raw = self._caches.sessions.get(key)
        logs.about(session=uid_of(raw) if raw is not None else "")
        if raw is None or is_terminating(raw):
            self._forget(key)
            return None
        try:
            session = AgentSession.model_validate(raw)
        except ValidationError as error:
            await self._refuse(raw, error)
            return None
        for _ in range(MOST_AT_ONCE):
            plan, seen = await self._decide(raw, session)
            with self._actor.reserving(session, plan.actions):
                if not plan.at_once:
                    return await self._carry_out(raw, session, seen, plan)
                self._must_lead()
                for action in plan.actions:
                    await self._actor.act(session, seen, action)
        return timedelta(0)

    async def _carry_out(self, raw: KubeObject, session: AgentSession, seen: Observed, plan: Plan) -> timedelta | None:
        self._must_lead()  # a deposed leader would undo what the new one does, and that one do it again
        for action in plan.actions:
            if not isinstance(action, Once):
                await self._actor.act(session, seen, action)
        again = await self._publish(raw, session, plan)
        if seen.pod is None or is_true(plan.status.conditions, FINISHED):
            self._listeners.forget(session.key)
        for action in plan.actions:
            if not isinstance(action, Once):
                continue
            self._must_lead()  # what the status promised, the next leader does
            try:
                await self._actor.act(session, seen, action)
            except (ForbiddenError, InvalidError) as error:
                return await self._pod_refused(session, seen, plan, error)
        return again

    def _must_lead(self) -> None:
        """The process of a deposed leader is about to end, but may take its time."""
        if not self._leading():
            raise NotLeadingError

    async def _decide(self, raw: KubeObject, session: AgentSession) -> tuple[Plan, Observed]:
        seen = await self._observer.observe(raw, session)
        plan = decide(session, seen, self._install, self._now())
        if not plan.settle_usage:
            return plan, seen
        await self._meters.settle()
        seen = await self._observer.observe(raw, session)
        return decide(session, seen, self._install, self._now()), seen

    async def _pod_refused(self, session: AgentSession, seen: Observed, plan: Plan, error: ApiError) -> timedelta:
        """Say so. Returns when to try again."""
        now = self._now()
        why = Trouble(POD_REFUSED, f"the API server refuses the pod: {explained(error)}")
        told = session.model_copy(update={"status": plan.status})
        status = report.starting(told, seen, why, now)
        raw = self._caches.sessions.get(session.key)
        if raw is not None and status != plan.status:
            await self._write(raw, plan.status, status)
        return next_try(unready_since(status.conditions), now)

    async def _publish(self, raw: KubeObject, session: AgentSession, plan: Plan) -> timedelta | None:
        """Write the status if it changed. Returns when to look again."""
        before, after, again = session.status, plan.status, plan.requeue_after
        if before == after:
            return again
        wait = self._usage_wait(session.key) if only_counted(before, after) else timedelta(0)
        if wait > timedelta(0):
            return min(wait, again) if again is not None else wait
        await self._write(raw, before, after)
        return again

    def _usage_wait(self, key: Key) -> timedelta:
        since = asyncio.get_running_loop().time() - self._written.get(key, float("-inf"))
        return timedelta(seconds=max(0.0, USAGE_PERIOD.total_seconds() - since))

    async def _refuse(self, raw: KubeObject, error: ValidationError) -> None:
        """A spec that this operator's models do not know, as after a change of versions."""
        try:
            known = _Known.model_validate(raw)
        except ValidationError as unreadable:  # what it has done cannot be known, so nothing may be done again
            self._leave_alone(raw, "InvalidStatus", spec_errors(unreadable))
            return
        why = Trouble("InvalidSpec", spec_errors(error))
        after = report.refused(known, why, self._now())
        if after == known.status:
            return
        try:
            await self._write(raw, known.status, after)
        except InvalidError:  # the API server cannot read it either
            self._leave_alone(raw, why.reason, why.message)

    def _leave_alone(self, raw: KubeObject, reason: str, message: str) -> None:
        """Say that nothing happens, where status cannot say it."""
        message = f"{message}: stored by another version, and left alone by this one; to be rid of it, delete it"
        logger.warning("session %s/%s: %s", *key_of(raw), message)
        self._recorder.record(raw, "Warning", reason, message)

    async def _write(self, raw: KubeObject, before: AgentSessionStatus, after: AgentSessionStatus) -> None:
        """Raises ConflictError if the object is not as `raw` says any more, NotFoundError if it is gone."""
        metadata = raw["metadata"]
        key = (metadata["namespace"], metadata["name"])
        written = await self._api.apply_status(
            AGENTSESSIONS, key, to_json(after), uid=metadata["uid"], resource_version=metadata["resourceVersion"]
        )
        self._written[key] = asyncio.get_running_loop().time()
        self._caches.sessions.observe("MODIFIED", written)
        if _in_line(before) != _in_line(after):
            self._line_changed(written)
        if after.start_type == "Warm":
            self._actor.claim_told(metadata["uid"])
        metrics.observe(before, after)
        for item in announcements(before, after):
            self._recorder.record(raw, *item)
        if before.phase != after.phase:
            logger.info("session %s/%s is %s", *key, after.phase)

    def _forget(self, key: Key) -> None:
        self._observer.forget(key)
        self._listeners.forget(key)
        self._meters.forget(key)
        self._written.pop(key, None)


def _in_line(status: AgentSessionStatus) -> bool:
    ready = condition(status.conditions, READY)
    return ready is not None and ready.reason == POOL_EXHAUSTED
