"""What a tenant's status says. Pure."""

from datetime import datetime

from agentsession.api.conditions import ACCEPTED, READY, RECONCILING, RESOLVED_REFS, STALLED, Mark, mark
from agentsession.api.installation import Installation
from agentsession.api.report import TenantCredential
from agentsession.api.tenant import AgentTenant, AgentTenantStatus


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
    marks = _marks(tenant, credential, furniture_problem, install)
    generation = tenant.metadata.generation
    return AgentTenantStatus(
        observed_generation=generation,
        conditions=mark(tenant.status.conditions, marks, generation, now),
    )


def _marks(
    tenant: AgentTenant, credential: TenantCredential | None, furniture_problem: str | None, install: Installation
) -> list[Mark]:
    url = tenant.spec.provider.base_url
    if url not in install.upstreams:
        message = f"spec.provider.baseURL: {url} is not among the installer's upstreams: {', '.join(install.upstreams)}"
        return [_mark(ACCEPTED, message), _mark(READY, message), Mark(STALLED, "True", "UpstreamNotAllowed", message)]
    accepted = Mark(ACCEPTED, "True", "Accepted")
    if furniture_problem is not None:
        return [accepted, *_waiting("NamespaceNotReady", furniture_problem)]
    if credential is None or credential.state == "Unknown":
        message = credential.message if credential is not None else "the egress plane has not looked at the Secret yet"
        return [accepted, *_waiting("CredentialPending", message)]
    if credential.state != "Ready":
        return [
            accepted,
            Mark(RESOLVED_REFS, "False", credential.state, credential.message),
            *_waiting(credential.state, credential.message),
        ]
    return [
        accepted,
        Mark(RESOLVED_REFS, "True", "ResolvedRefs"),
        Mark(READY, "True", "Ready", "sessions can use it"),
    ]


def _mark(type_: str, message: str) -> Mark:
    return Mark(type_, "False", "UpstreamNotAllowed", message)


def _waiting(reason: str, message: str) -> list[Mark]:
    return [Mark(READY, "False", reason, message), Mark(RECONCILING, "True", reason, message)]
