"""The grant: the operator's signed word that a pod serves a session. Written into the pod by the patch that claims it.

The egress plane believes nothing else about a pod: labels and other metadata are hints. A copied grant names another
pod's UID, a hand-written one has no valid signature. It has no expiry: it ends with the session or the pod.
"""

from datetime import datetime

import jwt
from pydantic import BaseModel, ValidationError

from .keyring import InvalidTokenError, Jwks, Keyring, verify

AUDIENCE = "agentsession/grant"


class Grant(BaseModel):
    """Who serves whom."""

    pod_uid: str
    slot: int = 0
    session_uid: str
    session_name: str
    namespace: str
    """Of session and tenant."""
    pod_namespace: str | None = None
    """Of the pod, if it is another one: the pod was a shared pool's."""
    tenant: str
    tenant_uid: str
    epoch: int
    """leaseTransitions of the operator's Lease when it was written; of two pods with one session the higher wins."""
    claimed: datetime | None = None
    """When the session claimed the pod, which was warm; None for a pod that was made for it."""

    @property
    def place(self) -> str:
        """Where the pod is."""
        return self.pod_namespace or self.namespace

    def sign(self, keyring: Keyring) -> str:
        """The annotation's value."""
        return keyring.sign({"aud": AUDIENCE, **self.model_dump(mode="json", exclude_none=True)})


def verify_grant(token: str, jwks: Jwks) -> Grant:
    """The grant in an annotation. Raises InvalidTokenError."""
    try:
        return Grant.model_validate(verify(token, jwks, AUDIENCE))
    except ValidationError as error:
        raise InvalidTokenError("not a grant") from error


def claimed_session(token: str) -> str:
    """The session's UID that a grant names, unverified; empty if it is none. To find grants by, never to believe."""
    try:
        claimed = jwt.decode(token, options={"verify_signature": False}).get("session_uid")
    except jwt.PyJWTError:
        return ""
    return claimed if isinstance(claimed, str) else ""
