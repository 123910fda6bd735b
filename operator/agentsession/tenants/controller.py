"""AgentTenant: applies what its namespace needs before the first runner, NetworkPolicy first, and reports readiness."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from agentsession.api.base import condition, to_json
from agentsession.api.conditions import READY
from agentsession.api.installation import Installation
from agentsession.api.tenant import AgentTenant, AgentTenantStatus
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError, InvalidError, NotFoundError
from agentsession.kube.events import EventRecorder, Severity
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import (
    AGENTTENANTS,
    NETWORKPOLICIES,
    PERSISTENTVOLUMECLAIMS,
    SERVICEACCOUNTS,
    Resource,
)
from agentsession.resources.names import NETWORK_POLICY
from agentsession.resources.network import network_policy
from agentsession.resources.tenancy import service_account, workspace_claim
from agentsession.usage.meters import Meters

from .decide import decide

POLL = timedelta(seconds=5)


class TenantController:
    """Reconciles one tenant. What it applied is remembered, so that an unchanged tenant costs no write."""

    def __init__(
        self,
        api: ApiClient,
        caches: Caches,
        meters: Meters,
        recorder: EventRecorder,
        install: Installation,
        ready_changed: Callable[[Key], None],
    ) -> None:
        self._api = api
        self._caches = caches
        self._meters = meters
        self._recorder = recorder
        self._install = install
        self._ready_changed = ready_changed
        self._applied: dict[tuple[Resource, Key], str] = {}

    async def reconcile(self, key: Key) -> timedelta | None:
        """One step. Returns when to look again if nothing happens."""
        raw = self._caches.tenants.get(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            self._ready_changed(key)
            return None
        try:
            tenant = AgentTenant.model_validate(raw)
        except ValidationError:
            return None
        problem = await self._furnish(tenant)
        credential = self._meters.credential(key, tenant.metadata.generation)
        status = decide(tenant, credential, problem, self._install, datetime.now(UTC))
        if status != tenant.status:
            await self._write(raw, tenant.status, status)
        return POLL if problem is not None else None

    async def _furnish(self, tenant: AgentTenant) -> str | None:
        """Make the namespace ready. Returns what the API server refuses, in one line; raises what may pass."""
        namespace = tenant.metadata.namespace
        try:
            await self._hold_policy(namespace)
            await self._apply_once(SERVICEACCOUNTS, service_account(namespace))
            if tenant.spec.workspace is not None:
                await self._apply_once(PERSISTENTVOLUMECLAIMS, workspace_claim(tenant, tenant.spec.workspace))
        except (ForbiddenError, InvalidError, NotFoundError) as error:
            return f"the API server refuses: {error.message}"
        return None

    async def _hold_policy(self, namespace: str) -> None:
        desired = network_policy(namespace, self._install)
        current = self._caches.policies.get((namespace, NETWORK_POLICY))
        if current is None or current["spec"] != desired["spec"]:
            applied = await self._api.apply(NETWORKPOLICIES, desired)
            self._caches.policies.observe("MODIFIED", applied)

    async def _apply_once(self, resource: Resource, body: KubeObject) -> None:
        where = (resource, (body["metadata"]["namespace"], body["metadata"]["name"]))
        text = json.dumps(body, sort_keys=True)
        if self._applied.get(where) != text:
            await self._api.apply(resource, body)
            self._applied[where] = text

    async def _write(self, raw: KubeObject, before: AgentTenantStatus, after: AgentTenantStatus) -> None:
        key = (raw["metadata"]["namespace"], raw["metadata"]["name"])
        written = await self._api.apply_status(AGENTTENANTS, key, to_json(after), uid=raw["metadata"]["uid"])
        self._caches.tenants.observe("MODIFIED", written)
        self._ready_changed(key)
        old, new = condition(before.conditions, READY), condition(after.conditions, READY)
        if new is not None and new.reason != "CredentialPending" and (old is None or old.reason != new.reason):
            severity: Severity = "Normal" if new.status == "True" else "Warning"
            self._recorder.record(raw, severity, new.reason, new.message)
