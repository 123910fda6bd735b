"""What the operator has signed onto pods, each signature verified once: that would be half the cost of a look."""

from collections.abc import Callable, Iterable

from .grant import Grant, verify_grant
from .keyring import Jwks
from .membership import Membership, verify_membership

REMEMBERED = 10_000


class Seals:
    """Grants and memberships. Both methods raise InvalidTokenError for what none of these keys has signed."""

    def __init__(self, jwks: Callable[[], Jwks]) -> None:
        self._jwks = jwks
        self._grants: dict[str, Grant] = {}
        self._memberships: dict[str, Membership] = {}

    def grant(self, token: str) -> Grant:
        """The grant in an annotation."""
        if token not in self._grants:
            if len(self._grants) >= REMEMBERED:
                self._grants.clear()
            self._grants[token] = verify_grant(token, self._jwks())
        return self._grants[token]

    def membership(self, token: str) -> Membership:
        """The membership in an annotation."""
        if token not in self._memberships:
            if len(self._memberships) >= REMEMBERED:
                self._memberships.clear()
            self._memberships[token] = verify_membership(token, self._jwks())
        return self._memberships[token]

    def forget(self, tokens: Iterable[str]) -> None:
        """The pod that had them is gone."""
        for token in tokens:
            self._grants.pop(token, None)
            self._memberships.pop(token, None)
