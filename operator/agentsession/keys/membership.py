"""The membership: the operator's signed word that it made a pod for a pool, of what, before its session is known.

Only a pod that has one may be claimed: whoever may create pods cannot slip one in that looks like a warm runner.
"""

from pydantic import BaseModel, ValidationError

from .keyring import InvalidTokenError, Jwks, Keyring, verify

AUDIENCE = "agentsession/membership"


class Membership(BaseModel):
    """Which pod waits in which pool, made from which revision of its template."""

    pod_uid: str
    pool_uid: str
    revision: str

    def sign(self, keyring: Keyring) -> str:
        """The annotation's value."""
        return keyring.sign({"aud": AUDIENCE, **self.model_dump()})


def verify_membership(token: str, jwks: Jwks) -> Membership:
    """The membership in an annotation. Raises InvalidTokenError."""
    try:
        return Membership.model_validate(verify(token, jwks, AUDIENCE))
    except ValidationError as error:
        raise InvalidTokenError("not a membership") from error
