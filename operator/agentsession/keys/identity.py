"""The identity: the egress plane's signed word that whoever connects from an address is that pod.

It names no session and no tenant: what the pod may do is the grant's to say. Elsewhere it is worthless, since the
egress plane takes the address from the connection.
"""

from datetime import datetime, timedelta

from pydantic import BaseModel, ValidationError

from .keyring import InvalidTokenError, Jwks, Keyring, verify

AUDIENCE = "agentsession/identity"
LIFETIME = timedelta(hours=1)


class Identity(BaseModel):
    """A pod's slot at an address."""

    pod_uid: str
    pod_name: str
    namespace: str
    slot: int = 0
    address: str

    def sign(self, keyring: Keyring, now: datetime) -> tuple[str, datetime]:
        """The token and its expiry."""
        expires = now + LIFETIME
        claims = {"aud": AUDIENCE, "iat": int(now.timestamp()), "exp": int(expires.timestamp())}
        return keyring.sign({**claims, **self.model_dump()}), expires


def verify_identity(token: str, jwks: Jwks) -> Identity:
    """The identity in a token that has not expired. Raises InvalidTokenError."""
    try:
        return Identity.model_validate(verify(token, jwks, AUDIENCE, required=("exp",)))
    except ValidationError as error:
        raise InvalidTokenError("not an identity") from error
