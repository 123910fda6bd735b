"""AgentSession: gives each session a runner, its prompts, and a status that says how it went."""

import logging
from datetime import UTC, datetime, timedelta
from time import monotonic

from pydantic import ValidationError

from agentsession.api.base import KubeModel, is_true, to_json
from agentsession.api.conditions import FINISHED
from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession, AgentSessionStatus
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError, InvalidError, NotFoundError
from agentsession.kube.events import EventRecorder
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import AGENTSESSIONS
from agentsession.runners.listeners import Listeners
from agentsession.usage.meters import Meters

from . import report
from .acceptance import spec_errors
from .act import Actor
from .announce import announcements
from .decide import decide
from .observe import Observer
from .plan import Plan
from .podview import Trouble
from .usage import merged

USAGE_PERIOD = timedelta(seconds=10)
"""Shortest time between two writes that change nothing but usage."""

logger = logging.getLogger(__name__)


class _Known(KubeModel):
    """A session whose spec these models do not admit."""

    status: AgentSessionStatus = AgentSessionStatus()


class SessionController:
    """Reconciles one session at a time per key; see decide.py for what it does and when."""

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
    ) -> None:
        self._api = api
        self._caches = caches
        self._observer = observer
        self._actor = actor
        self._listeners = listeners
        self._meters = meters
        self._recorder = recorder
        self._install = install
        self._usage_written: dict[Key, float] = {}

    async def reconcile(self, key: Key) -> timedelta | None:
        """One step. Returns when to look again if nothing happens; raises what the queue should retry."""
        raw = self._caches.sessions.get(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            self._forget(key)
            return None
        try:
            session = AgentSession.model_validate(raw)
        except ValidationError as error:
            await self._refuse(raw, error)
            return None
        seen = await self._observer.observe(session)
        plan = decide(session, seen, self._install, datetime.now(UTC))
        for action in plan.actions:
            try:
                await self._actor.act(session, seen, action)
            except (ForbiddenError, InvalidError) as error:
                refused = Trouble("RunnerRefused", f"the API server refuses the runner pod: {error.message}")
                await self._write(raw, session.status, report.starting(session, seen, refused, datetime.now(UTC)))
                raise
        if plan.settle_usage:
            await self._settle(session, plan)
        if is_true(plan.status.conditions, FINISHED):
            self._listeners.forget(key)
        return await self._publish(raw, session, plan)

    async def _publish(self, raw: KubeObject, session: AgentSession, plan: Plan) -> timedelta | None:
        before, after = session.status, plan.status
        if before == after:
            return plan.requeue_after
        if before.model_copy(update={"usage": after.usage}) == after and (wait := self._usage_wait(session.key)):
            return min(wait, plan.requeue_after or wait)
        await self._write(raw, before, after)
        return plan.requeue_after

    def _usage_wait(self, key: Key) -> timedelta:
        since = monotonic() - self._usage_written.get(key, float("-inf"))
        return timedelta(seconds=max(0.0, USAGE_PERIOD.total_seconds() - since))

    async def _settle(self, session: AgentSession, plan: Plan) -> None:
        await self._meters.pull()
        plan.status.usage = merged(plan.status.usage, self._meters.session(session.metadata.uid))

    async def _refuse(self, raw: KubeObject, error: ValidationError) -> None:
        """A spec that this operator's models do not know, as after a change of versions."""
        known = _Known.model_validate(raw)
        why = Trouble("InvalidSpec", f"spec: {spec_errors(error)}")
        after = report.refused(known, why, datetime.now(UTC))
        if after != known.status:
            await self._write(raw, known.status, after)

    async def _write(self, raw: KubeObject, before: AgentSessionStatus, after: AgentSessionStatus) -> None:
        metadata = raw["metadata"]
        key = (metadata["namespace"], metadata["name"])
        try:
            written = await self._api.apply_status(AGENTSESSIONS, key, to_json(after), uid=metadata["uid"])
        except NotFoundError:
            return
        self._usage_written[key] = monotonic()
        self._caches.sessions.observe("MODIFIED", written)
        for item in announcements(before, after):
            self._recorder.record(raw, item.type, item.reason, item.message)
        if before.phase != after.phase:
            logger.info("session %s/%s is %s", *key, after.phase, extra={"session": metadata["uid"]})

    def _forget(self, key: Key) -> None:
        self._listeners.forget(key)
        self._usage_written.pop(key, None)
