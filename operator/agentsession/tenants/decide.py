"""What a tenant's status says. Pure."""

from datetime import datetime

from pydantic import ValidationError

from agentsession.api.base import ObjectMeta, condition, spec_errors
from agentsession.api.conditions import ACCEPTED, READY, RECONCILING, RESOLVED_REFS, STALLED, Mark, mark
from agentsession.api.installation import Installation
from agentsession.api.report import TenantCredential
from agentsession.api.tenant import AgentTenant, AgentTenantStatus

READY_MARKS = [Mark(RESOLVED_REFS, "True", "ResolvedRefs"), Mark(READY, "True", "Ready", "sessions can use it")]


def decide(
    tenant: AgentTenant,
    credential: TenantCredential | None,
    furniture_problem: str | None,
    install: Installation,
    now: datetime,
) -> AgentTenantStatus:
    """The status of a tenant.

    credential: what the egress plane says of the Secret; the operator itself cannot read it.
    furniture_problem: why the namespace could not be made ready, or None.
    """
    return _status(tenant.metadata, tenant.status, _marks(tenant, credential, furniture_problem, install), now)


def invalid(
    metadata: ObjectMeta, status: AgentTenantStatus, error: ValidationError, now: datetime
) -> AgentTenantStatus:
    """The status of a tenant whose spec cannot be read."""
    return _status(metadata, status, _never("InvalidSpec", spec_errors(error)), now)


def _status(metadata: ObjectMeta, before: AgentTenantStatus, marks: list[Mark], now: datetime) -> AgentTenantStatus:
    conditions = mark(before.conditions, marks, metadata.generation, now)
    return AgentTenantStatus(observed_generation=metadata.generation, conditions=conditions)


def _marks(
    tenant: AgentTenant, credential: TenantCredential | None, furniture_problem: str | None, install: Installation
) -> list[Mark]:
    url = tenant.spec.provider.base_url
    if url not in install.upstreams:
        message = f"spec.provider.baseURL: {url} is not among the installer's upstreams: {', '.join(install.upstreams)}"
        return _never("UpstreamNotAllowed", message)
    accepted = Mark(ACCEPTED, "True", "Accepted")
    if furniture_problem is not None:
        return [accepted, *_waiting("NamespaceNotReady", furniture_problem)]
    if credential is None and _was_ready(tenant):  # an egress plane that is away for a moment withdraws nothing
        return [accepted, *READY_MARKS]
    if credential is None or credential.state == "Unknown":
        message = credential.message if credential is not None else "the egress plane has not looked at the Secret yet"
        return [accepted, *_waiting("CredentialPending", message)]
    if credential.state != "Ready":
        return [
            accepted,
            Mark(RESOLVED_REFS, "False", credential.state, credential.message),
            *_waiting(credential.state, credential.message),
        ]
    return [accepted, *READY_MARKS]


def _was_ready(tenant: AgentTenant) -> bool:
    ready = condition(tenant.status.conditions, READY)
    return ready is not None and ready.status == "True" and ready.observed_generation == tenant.metadata.generation


def _never(reason: str, message: str) -> list[Mark]:
    return [
        Mark(ACCEPTED, "False", reason, message),
        Mark(READY, "False", reason, message),
        Mark(STALLED, "True", reason, message),
    ]


def _waiting(reason: str, message: str) -> list[Mark]:
    return [Mark(READY, "False", reason, message), Mark(RECONCILING, "True", reason, message)]
