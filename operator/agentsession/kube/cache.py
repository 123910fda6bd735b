"""What the API server last told about one kind. Updated synchronously by watches and by the answers to own writes."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from agentsession.kube.objects import Key, KubeObject, key_of, resource_version_of, uid_of
from agentsession.kube.remembered import Remembered

Changed = Callable[[Key, KubeObject | None], None]
"""Told of each change, with the object as last seen: also of one that was deleted, unless only a list found that."""


class Store:
    """Objects by (namespace, name), and by uid, namespace, and each value that `index` makes of them.

    Objects are shared and read-only. An older state never replaces a newer one, and a deleted uid never comes back, so
    watch events, list pages and answers to writes may arrive in any order. Belongs to one event loop; never awaits.
    """

    def __init__(self, index: Callable[[KubeObject], Iterable[str]] = lambda _: ()) -> None:
        self.synced = False
        """Whether a complete list has been seen: before that, absence means nothing."""
        self._index = index
        self.gone: Callable[[KubeObject], None] = lambda _: None
        """Told of each object that was deleted, for who remembers something of it."""
        self._keeps: Callable[[Key], bool] = lambda _: True
        self._objects: dict[Key, KubeObject] = {}
        self._indices: dict[tuple[str, ...], dict[Key, None]] = defaultdict(dict)
        self._deleted = Remembered()
        """By uid, the version at which it was gone."""

    def observe(self, event_type: str | None, obj: KubeObject) -> bool:
        """Take in one watch event (`DELETED`, or any other type for a state); say whether that changed anything."""
        key, uid, version = key_of(obj), uid_of(obj), resource_version_of(obj)
        if event_type == "DELETED":
            return self._forget(key, uid, version)
        if not self._keeps(key):
            return False
        known = self._objects.get(key)
        if version is not None and version <= self._deleted.number(uid):
            return False
        if known is not None:
            if not _supersedes(obj, known):
                return False
            self._remove(key, known)
        self._objects[key] = obj
        for index in self._entries(obj):
            self._indices[index][key] = None
        return True

    def replace(self, objects: Iterable[KubeObject], resource_version: str) -> set[Key]:
        """Mark and sweep with a complete list; the keys that changed, appeared or vanished.

        Objects that are newer than `resource_version`, the version of the list, were created after it and stay.
        """
        listed: set[Key] = set()
        changed: set[Key] = set()
        for obj in objects:
            listed.add(key_of(obj))
            if self.observe(None, obj):
                changed.add(key_of(obj))
        version = int(resource_version) if resource_version.isdecimal() else None
        for key in self._objects.keys() - listed:
            if self._forget(key, uid_of(self._objects[key]), version):
                changed.add(key)
        self.synced = True
        return changed

    def keep_only(self, keeps: Callable[[Key], bool]) -> None:
        """Forget the other objects, and take in none of them from now on."""
        self._keeps = keeps
        for key, obj in list(self._objects.items()):
            if not keeps(key):
                self._remove(key, obj)

    def get(self, key: Key) -> KubeObject | None:
        """The object of that (namespace, name)."""
        return self._objects.get(key)

    def by_uid(self, uid: str) -> KubeObject | None:
        """The object of that uid."""
        return next(iter(self._select("uid", uid)), None)

    def in_namespace(self, namespace: str) -> list[KubeObject]:
        """The objects of that namespace."""
        return self._select("namespace", namespace)

    def indexed(self, value: str) -> list[KubeObject]:
        """The objects of which `index` made that value, among others; the one that changed last comes last."""
        return self._select("index", value)

    def __iter__(self) -> Iterator[KubeObject]:
        return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def _select(self, *index: str) -> list[KubeObject]:
        return [self._objects[key] for key in self._indices.get(index, ())]

    def _entries(self, obj: KubeObject) -> Iterator[tuple[str, ...]]:
        yield "uid", uid_of(obj)
        yield "namespace", key_of(obj)[0]
        yield from (("index", value) for value in set(self._index(obj)))

    def _forget(self, key: Key, uid: str, version: int | None) -> bool:
        """Drop what was gone at that version. An object that leaves a label selector may enter it again."""
        if version is not None:
            self._deleted.note(uid, version)
        known = self._objects.get(key)
        if known is None or uid_of(known) != uid:
            return False
        known_version = resource_version_of(known)
        if version is not None and known_version is not None and known_version > version:
            return False
        self._remove(key, known)
        self.gone(known)
        return True

    def _remove(self, key: Key, obj: KubeObject) -> None:
        del self._objects[key]
        for index in self._entries(obj):
            del self._indices[index][key]
            if not self._indices[index]:
                del self._indices[index]


def _supersedes(new: KubeObject, old: KubeObject) -> bool:
    """Whether `new` is the later state; where versions are not comparable, whatever comes last is."""
    new_version, old_version = resource_version_of(new), resource_version_of(old)
    return new_version is None or old_version is None or new_version > old_version
