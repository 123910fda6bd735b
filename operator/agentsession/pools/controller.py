"""AgentPool: keeps as many runners ready as it is to have, of its present template."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from agentsession.api.base import spec_errors, to_json
from agentsession.api.conditions import RESOLVED_REFS, since
from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool, AgentPoolStatus
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError, InvalidError, NotFoundError
from agentsession.kube.events import EventRecorder
from agentsession.kube.objects import Key, KubeObject, is_terminating, uid_of
from agentsession.kube.refusals import explained, next_try
from agentsession.kube.resource import AGENTPOOLS
from agentsession.runners.premises import Premises
from agentsession.runners.trouble import POD_REFUSED, Trouble
from agentsession_runner import logs

from .act import Actor
from .announce import announcements
from .decide import Plan, decide
from .observe import Observer
from .observed import Refused

COUNTS_PERIOD = timedelta(seconds=1)
"""Shortest time between two writes that change nothing but counts."""
DEPOSED = timedelta(seconds=1)
"""How soon to look again while another operator may lead."""
MOST_AT_ONCE = 16
"""Runners that a pool makes together. The first step makes one, each that succeeds twice as many: slow start."""
BUSY_AT_ONCE = 1
"""The same while claims come, or sessions wait for a worker: they come first."""

logger = logging.getLogger(__name__)


class PoolController:
    """Reconciles one pool at a time per key. busy: whether sessions wait for the operator."""

    def __init__(
        self,
        api: ApiClient,
        caches: Caches,
        observer: Observer,
        actor: Actor,
        premises: Premises,
        recorder: EventRecorder,
        install: Installation,
        refused: dict[Key, Refused],
        leading: Callable[[], bool],
        busy: Callable[[], bool],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._caches = caches
        self._observer = observer
        self._actor = actor
        self._premises = premises
        self._recorder = recorder
        self._install = install
        self._refused = refused
        self._leading = leading
        self._busy = busy
        self._now = now
        self._batch: dict[Key, int] = {}
        self._written: dict[Key, float] = {}

    async def reconcile(self, key: Key) -> timedelta | None:
        """One step. Returns when to look again if nothing happens; raises what the queue should retry."""
        raw = self._caches.pools.get(key)
        logs.about(pool=uid_of(raw) if raw is not None else "")
        if raw is None or is_terminating(raw):
            self._forget(key)
            return None
        try:
            pool = AgentPool.model_validate(raw)
        except ValidationError as error:
            self._recorder.record(raw, "Warning", "InvalidSpec", spec_errors(error))
            return None
        problem, now = await self._furnish(pool), self._now()
        plan = decide(
            pool, self._observer.observe(pool, problem, now, refilling=key in self._batch), self._install, now
        )
        if not self._leading():  # the process of a deposed leader is about to end, but may take its time
            return DEPOSED
        more = await self._carry_out(key, pool, plan)
        unresolved = since(pool.status.conditions, RESOLVED_REFS, "False")
        again = next_try(unresolved, now) if problem is not None else plan.requeue_after
        again = await self._publish(raw, pool, plan.status, again)
        return timedelta(0) if more else again

    async def _furnish(self, pool: AgentPool) -> Trouble | None:
        """Make the namespace of a shared pool ready: else its tenant does that. Returns what the API server refuses."""
        namespace = pool.metadata.namespace
        if pool.spec.tenant is not None or namespace not in self._install.shared_pool_namespaces:
            return None
        try:
            await self._premises.hold(namespace)
        except (ForbiddenError, InvalidError, NotFoundError) as error:
            return Trouble("NamespaceNotReady", f"the API server refuses: {explained(error)}")
        return None

    async def _carry_out(self, key: Key, pool: AgentPool, plan: Plan) -> bool:
        """Delete, then make some. Returns whether there are more to make at once."""
        for pod in plan.delete:
            await self._actor.delete(key[0], pod)
        tenant, user = self._observer.tenant(pool), self._observer.user(key[0])
        if not plan.create or user is None or (tenant is None) != (pool.spec.tenant is None):
            self._batch.pop(key, None)
            return False
        most = BUSY_AT_ONCE if plan.gently or self._busy() else MOST_AT_ONCE
        batch = min(plan.create, self._batch.get(key, 1), most)
        made = (self._actor.create(pool, tenant, user, plan.status.revision) for _ in range(batch))
        errors = [error for error in await asyncio.gather(*made, return_exceptions=True) if error is not None]
        if not errors:
            self._batch[key] = batch * 2
            self._refused.pop(key, None)
            return plan.create > batch
        self._batch.pop(key, None)
        if not isinstance(errors[0], ForbiddenError | InvalidError):
            raise errors[0]
        why = Trouble(POD_REFUSED, f"the API server refuses the pod: {explained(errors[0])}")
        self._refused[key] = Refused(why, self._now())
        return True

    async def _publish(
        self, raw: KubeObject, pool: AgentPool, after: AgentPoolStatus, again: timedelta | None
    ) -> timedelta | None:
        """Write the status if it changed, mere counts not oftener than once a COUNTS_PERIOD."""
        before = pool.status
        if before == after:
            return again
        if before.conditions == after.conditions and before.observed_generation == after.observed_generation:
            since = asyncio.get_running_loop().time() - self._written.get(pool.key, float("-inf"))
            wait = timedelta(seconds=max(0.0, COUNTS_PERIOD.total_seconds() - since))
            if wait > timedelta(0):
                return wait if again is None else min(wait, again)
        version = raw["metadata"]["resourceVersion"]
        written = await self._api.apply_status(
            AGENTPOOLS, pool.key, to_json(after), uid=pool.metadata.uid, resource_version=version
        )
        self._written[pool.key] = asyncio.get_running_loop().time()
        self._caches.pools.observe("MODIFIED", written)
        for item in announcements(before, after):
            self._recorder.record(raw, *item)
        return again

    def _forget(self, key: Key) -> None:
        self._observer.forget(key)
        self._refused.pop(key, None)
        self._batch.pop(key, None)
        self._written.pop(key, None)
