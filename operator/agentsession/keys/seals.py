"""What the operator has signed onto pods, each signature verified once: that would be half the cost of a look."""

from collections.abc import Callable
from functools import lru_cache

from .grant import Grant, verify_grant
from .keyring import Jwks
from .membership import Membership, verify_membership

REMEMBERED = 10_000


class Seals:
    """Grants and memberships. Both methods raise InvalidTokenError for what none of these keys has signed."""

    def __init__(self, jwks: Callable[[], Jwks]) -> None:
        self._grant = lru_cache(REMEMBERED)(lambda token: verify_grant(token, jwks()))
        self._membership = lru_cache(REMEMBERED)(lambda token: verify_membership(token, jwks()))

    def grant(self, token: str) -> Grant:
        """The grant in an annotation."""
        return self._grant(token)

    def membership(self, token: str) -> Membership:
        """The membership in an annotation."""
        return self._membership(token)
