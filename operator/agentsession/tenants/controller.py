"""AgentTenant: applies what its namespace needs before the first runner, NetworkPolicy first, and reports readiness."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from agentsession.api.base import KubeModel, condition, spec_errors, to_json
from agentsession.api.conditions import READY, unready_since
from agentsession.api.installation import Installation
from agentsession.api.tenant import AgentTenant, AgentTenantStatus
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError, InvalidError, NotFoundError
from agentsession.kube.events import EventRecorder, Severity
from agentsession.kube.objects import Key, KubeObject, is_terminating, key_of, uid_of
from agentsession.kube.refusals import explained, next_try
from agentsession.kube.resource import AGENTTENANTS, PERSISTENTVOLUMECLAIMS
from agentsession.resources.tenancy import workspace_claim
from agentsession.runners.premises import Premises
from agentsession.usage.meters import Meters
from agentsession_runner import logs

from .decide import decide, invalid


class _Known(KubeModel):
    """A tenant whose spec these models do not admit."""

    status: AgentTenantStatus = AgentTenantStatus()


class TenantController:
    """Reconciles one tenant. What it applied is remembered, so that an unchanged tenant costs no write.

    changed: told of each tenant whose sessions may now get on, or no more.
    """

    def __init__(
        self,
        api: ApiClient,
        caches: Caches,
        meters: Meters,
        recorder: EventRecorder,
        premises: Premises,
        install: Installation,
        changed: Callable[[Key], None],
    ) -> None:
        self._api = api
        self._caches = caches
        self._meters = meters
        self._recorder = recorder
        self._premises = premises
        self._install = install
        self._changed = changed
        self._applied: dict[Key, str] = {}
        self._told: dict[Key, AgentTenantStatus] = {}

    async def reconcile(self, key: Key) -> timedelta | None:
        """One step. Returns when to look again if nothing happens."""
        raw = self._caches.tenants.get(key)
        logs.about(tenant=uid_of(raw) if raw is not None else "")
        if raw is None or is_terminating(raw):
            self._applied.pop(key, None)
            self._told.pop(key, None)
            self._changed(key)
            return None
        raw = _with_readable_status(raw)
        try:
            tenant = AgentTenant.model_validate(raw)
        except ValidationError as error:
            await self._refuse(raw, error)
            return None
        problem = await self._furnish(tenant)
        credential = self._meters.credential(key, tenant.metadata.generation)
        now = datetime.now(UTC)
        status = decide(tenant, credential, problem, self._install, now)
        if status != tenant.status:
            await self._write(raw, tenant.status, status)
        self._tell(key, status)
        return next_try(unready_since(status.conditions), now) if problem is not None else None

    async def _furnish(self, tenant: AgentTenant) -> str | None:
        """Make the namespace ready. Returns what the API server refuses, in one line; raises what may pass."""
        try:
            if await self._premises.hold(tenant.metadata.namespace):
                self._changed(tenant.key)
            if tenant.spec.workspace is not None:
                claim = workspace_claim(tenant, tenant.spec.workspace)
                await self._hold_claim(tenant.key, claim)
                return _lost(self._caches.claims.get(key_of(claim)))
        except (ForbiddenError, InvalidError, NotFoundError) as error:
            return f"the API server refuses: {explained(error)}"
        return None

    async def _hold_claim(self, tenant: Key, claim: KubeObject) -> None:
        """Apply it when it is not there, or not what this tenant last asked for."""
        text = json.dumps(claim, sort_keys=True)
        if self._caches.claims.get(key_of(claim)) is None or self._applied.get(tenant) != text:
            self._caches.claims.observe("MODIFIED", await self._api.apply(PERSISTENTVOLUMECLAIMS, claim))
            self._applied[tenant] = text
            self._changed(tenant)

    async def _refuse(self, raw: KubeObject, error: ValidationError) -> None:
        """A spec that this operator's models do not know, as after a change of versions."""
        known = _Known.model_validate(raw)
        status = invalid(known.metadata, known.status, error, datetime.now(UTC))
        try:
            if status != known.status:
                await self._write(raw, known.status, status)
            self._tell(key_of(raw), status)
        except InvalidError:  # the API server cannot read it either, so its status cannot say so
            self._recorder.record(raw, "Warning", "InvalidSpec", spec_errors(error))

    def _tell(self, key: Key, status: AgentTenantStatus) -> None:
        """Those that wait for it. Another operator may have written it, or this one without an answer."""
        if self._told.get(key) != status:
            self._told[key] = status
            self._changed(key)

    async def _write(self, raw: KubeObject, before: AgentTenantStatus, after: AgentTenantStatus) -> None:
        key = (raw["metadata"]["namespace"], raw["metadata"]["name"])
        written = await self._api.apply_status(
            AGENTTENANTS,
            key,
            to_json(after),
            uid=raw["metadata"]["uid"],
            resource_version=raw["metadata"]["resourceVersion"],
        )
        self._caches.tenants.observe("MODIFIED", written)
        old, new = condition(before.conditions, READY), condition(after.conditions, READY)
        if new is not None and new.reason != "CredentialPending" and (old is None or old.reason != new.reason):
            severity: Severity = "Normal" if new.status == "True" else "Warning"
            self._recorder.record(raw, severity, new.reason, new.message)


def _lost(claim: KubeObject | None) -> str | None:
    if claim is None or claim.get("status", {}).get("phase") != "Lost":
        return None
    return f"PersistentVolumeClaim {key_of(claim)[1]} has lost its volume: delete it to have a new one, empty"


def _with_readable_status(raw: KubeObject) -> KubeObject:
    """A status of another version is made anew: all that it says can be found again."""
    try:
        _Known.model_validate(raw)
    except ValidationError:
        return {**raw, "status": {}}
    return raw
