"""A keyring signs with its current key and still publishes the previous one, so that rotation interrupts nobody."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

ROTATE_AFTER = timedelta(days=30)
SPREAD = timedelta(seconds=60)
"""How long a new key is only published: everybody reads keys every few seconds, and clocks differ."""


class Jwks(TypedDict):
    """A JSON Web Key Set, RFC 7517."""

    keys: list[dict[str, str]]


class InvalidTokenError(Exception):
    """A token that is malformed, wrongly signed, expired, or meant for somebody else. The text is safe to show."""


@dataclass(frozen=True)
class SigningKey:
    """One Ed25519 key with its id and birth."""

    kid: str
    created: datetime
    private: Ed25519PrivateKey

    @classmethod
    def generate(cls, now: datetime) -> "SigningKey":
        """A new random key."""
        return cls(secrets.token_hex(8), now, Ed25519PrivateKey.generate())

    def public_jwk(self) -> dict[str, str]:
        """The public half, as an RFC 8037 OKP key."""
        jwk = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**jwk, "kid": self.kid, "alg": "EdDSA", "use": "sig"}


@dataclass(frozen=True)
class Keyring:
    """Signing keys, the newest first."""

    keys: tuple[SigningKey, ...]

    @classmethod
    def generate(cls, now: datetime) -> "Keyring":
        """A keyring with one new key."""
        return cls((SigningKey.generate(now),))

    def rotated(self, now: datetime) -> "Keyring":
        """The same keyring, or one with a new key if the newest one is older than ROTATE_AFTER."""
        if now - self.keys[0].created < ROTATE_AFTER:
            return self
        return Keyring((SigningKey.generate(now), self.keys[0]))

    def current(self, now: datetime) -> SigningKey:
        """The key that signs: the newest that everybody has had time to read. One that is alone signs at once."""
        return next((key for key in self.keys if now - key.created >= SPREAD), self.keys[-1])

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A compact JWT, EdDSA, with the current key's `kid`."""
        key = self.current(datetime.now(UTC))
        return jwt.encode(dict(claims), key.private, algorithm="EdDSA", headers={"kid": key.kid})

    def jwks(self) -> Jwks:
        """The public keys."""
        return {"keys": [key.public_jwk() for key in self.keys]}

    def dump(self) -> str:
        """The private form that a Secret keeps."""
        return json.dumps(
            [
                {
                    "kid": key.kid,
                    "created": key.created.isoformat(),
                    "jwk": OKPAlgorithm.to_jwk(key.private, as_dict=True),
                }
                for key in self.keys
            ]
        )

    @classmethod
    def load(cls, text: str) -> "Keyring":
        """What `dump` wrote. Raises ValueError on anything else."""
        keys = []
        for entry in json.loads(text):
            private = OKPAlgorithm.from_jwk(entry["jwk"])
            if not isinstance(private, Ed25519PrivateKey):
                raise ValueError("not an Ed25519 private key")
            created = datetime.fromisoformat(entry["created"]).astimezone(UTC)
            keys.append(SigningKey(entry["kid"], created, private))
        if not keys:
            raise ValueError("an empty keyring")
        return cls(tuple(keys))


def verify(token: str, jwks: Jwks, audience: str, *, required: Sequence[str] = ()) -> dict[str, Any]:
    """The claims of a token that one of `jwks` signed for `audience`.

    Expiry is checked where the token has one; `required` names claims that must be there. Raises InvalidTokenError.
    """
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(dict(jwks)).keys}
        if kid not in keys:
            raise InvalidTokenError("signed with an unknown key")
        claims: dict[str, Any] = jwt.decode(
            token, keys[kid], algorithms=["EdDSA"], audience=audience, options={"require": ["aud", *required]}
        )
    except jwt.PyJWTError as error:
        raise InvalidTokenError(str(error)) from error
    return claims
