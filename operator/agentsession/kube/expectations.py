"""What was written but not yet seen in the cache, per owner: whoever decides on a stale cache would write it again."""

from collections.abc import Callable
from typing import Literal

from agentsession.kube.objects import KubeObject, is_terminating, key_of, owner_uid, uid_of
from agentsession.kube.resource import Resource

TIMEOUT = 30.0
"""Seconds after which an expectation no longer holds anything up: its watch event was lost, the resync will tell."""

Expected = tuple[Literal["created", "deleted"], str, str]
"""(what, resource plural, name of what is created or uid of what is deleted)."""


class Expectations:
    """Record each before its write; withdraw it when the write was refused, not when its outcome is unknown.

    clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_owner: dict[str, dict[Expected, float]] = {}

    def creation(self, owner: str, resource: Resource, name: str) -> Expected:
        """The owner with that uid is about to create a child of that name."""
        return self._expect(owner, ("created", resource.plural, name))

    def deletion(self, owner: str, resource: Resource, uid: str) -> Expected:
        """The owner with that uid is about to delete the child with that uid."""
        return self._expect(owner, ("deleted", resource.plural, uid))

    def withdraw(self, owner: str, expected: Expected) -> None:
        """The write did not happen."""
        waiting = self._by_owner.get(owner, {})
        waiting.pop(expected, None)
        if not waiting:
            self._by_owner.pop(owner, None)

    def observe(self, event_type: str | None, resource: Resource, obj: KubeObject) -> None:
        """A watch event of a child; call it after the cache has the event."""
        owner = owner_uid(obj)
        if owner not in self._by_owner:
            return
        self.withdraw(owner, ("created", resource.plural, key_of(obj)[1]))
        if event_type == "DELETED" or is_terminating(obj):
            self.withdraw(owner, ("deleted", resource.plural, uid_of(obj)))

    def satisfied(self, owner: str) -> bool:
        """Whether the cache can be believed about the owner's children."""
        now = self._clock()
        waiting = self._by_owner.get(owner, {})
        for expected in [expected for expected, until in waiting.items() if until <= now]:
            self.withdraw(owner, expected)
        return owner not in self._by_owner

    def forget(self, owner: str) -> None:
        """The owner is gone."""
        self._by_owner.pop(owner, None)

    def _expect(self, owner: str, expected: Expected) -> Expected:
        self._by_owner.setdefault(owner, {})[expected] = self._clock() + TIMEOUT
        return expected
