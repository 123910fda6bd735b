"""What an egress process tells the operator: what it served, and whether tenants' credentials are usable.

    GET /v1/report?after=N&shard=I   Authorization: Bearer <call token, audience agentsession/usage>

answers with everything that changed after sequence N of this incarnation (N=0: everything), for the leader of shard I.
"""

from typing import Literal

from .base import StatusModel, Timestamp
from .session import Meter

CredentialState = Literal[
    "Ready", "SecretNotFound", "GrantMissing", "KeyMissing", "HostNotAllowed", "UpstreamNotAllowed", "Unknown"
]


class SessionUsage(StatusModel):
    """One session at one egress process."""

    session_uid: str
    namespace: str
    session_name: str
    meter: Meter
    open: int = 0
    """Requests under way, which the meter counts and has not billed."""
    first_request: Timestamp | None = None
    stopped: Literal["TurnLimit"] | None = None
    """Set when the plane refuses further requests because of a limit."""


class TenantCredential(StatusModel):
    """Whether the plane can use a tenant's credential; `message` is one line for the tenant's condition."""

    namespace: str
    name: str
    generation: int
    state: CredentialState
    message: str = ""


class Report(StatusModel):
    """An answer to one pull."""

    incarnation: str
    started: Timestamp | None = None
    """When the process did: what was served before, it cannot have counted."""
    sequence: int
    final: bool = False
    """Whether it serves nobody any more: whatever it has served is in its reports, and it may vanish."""
    sessions: list[SessionUsage] = []
    tenants: list[TenantCredential] = []
