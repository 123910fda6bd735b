"""What the operator has signed onto pods, each signature verified once: that would be half the cost of a look."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .grant import Grant, verify_grant
from .keyring import Jwks
from .membership import Membership, verify_membership

T = TypeVar("T")


class _Once(Generic[T]):
    def __init__(self, verify: Callable[[str], T]) -> None:
        self._verify = verify
        self._verified: dict[str, T] = {}

    def of(self, token: str) -> T:
        if token not in self._verified:
            self._verified[token] = self._verify(token)
        return self._verified[token]

    def forget(self, token: str) -> None:
        self._verified.pop(token, None)


class Seals:
    """Grants and memberships. Both methods raise InvalidTokenError for what none of these keys has signed."""

    def __init__(self, jwks: Callable[[], Jwks]) -> None:
        self._grants: _Once[Grant] = _Once(lambda token: verify_grant(token, jwks()))
        self._memberships: _Once[Membership] = _Once(lambda token: verify_membership(token, jwks()))

    def grant(self, token: str) -> Grant:
        """The grant in an annotation."""
        return self._grants.of(token)

    def membership(self, token: str) -> Membership:
        """The membership in an annotation."""
        return self._memberships.of(token)

    def forget(self, tokens: Iterable[str]) -> None:
        """The pod that had them is gone."""
        for token in tokens:
            self._grants.forget(token)
            self._memberships.forget(token)
