"""Reads each version of an object once: most looks at a cache find nothing new."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from .objects import KubeObject, uid_of

REMEMBERED = 10_000
"""Objects."""
T = TypeVar("T")


class Versions(Generic[T]):
    """What `read` made of the last version of each object that was looked at. It must not be changed."""

    def __init__(
        self, read: Callable[[KubeObject], T], lasts: Callable[[KubeObject, T], bool] = lambda *_: True
    ) -> None:
        """lasts: whether the same would be read another time."""
        self._read = read
        self._lasts = lasts
        self._known: OrderedDict[str, tuple[str, T]] = OrderedDict()

    def of(self, obj: KubeObject) -> T:
        """Raises what `read` raises, each time."""
        uid, version = uid_of(obj), obj["metadata"]["resourceVersion"]
        known = self._known.get(uid)
        if known is not None and known[0] == version:
            return known[1]
        made = self._read(obj)
        if not self._lasts(obj, made):
            return made
        self._known[uid] = version, made
        self._known.move_to_end(uid)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return made

    def forget(self, obj: KubeObject) -> None:
        """It is gone."""
        self._known.pop(uid_of(obj), None)
