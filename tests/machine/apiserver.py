"""The simulated API server as clients see it: paths, verbs, patches and watches."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from agentsession.kube.objects import KubeObject

from .objects import Event, Objects, StatusError, matching, seen

_PATH = re.compile(
    r"/apis?/(?:[^/]+/)?v[^/]+(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$"
)
APPLY = "application/apply-patch+yaml"


class ApiServer:
    """Serves `objects`; `committed` is told of each change in the moment of it."""

    def __init__(self, now: Callable[[], datetime], committed: Callable[[str, Event], None]) -> None:
        self.objects = Objects(now, self._commit)
        self._told = committed
        self._followers: dict[str, dict[asyncio.Event, None]] = defaultdict(dict)

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None, content_type: str
    ) -> tuple[int, bytes]:
        """Carry out a request that is no watch. Returns status and body."""
        try:
            return 200, json.dumps(self._answer(method, path, query, json.loads(body or b"{}"), content_type)).encode()
        except StatusError as error:
            return error.code, json.dumps(error.body).encode()

    def changes(self, path: str, query: Mapping[str, str], version: int) -> Iterator[tuple[int, bytes]]:
        """What a watch has to tell since that version: versions and lines, the latter empty where it does not care.

        Raises StatusError 410.
        """
        where = _where(path)
        for event in self.objects.since(where["plural"], version):
            yield event.version, seen(event, query.get("labelSelector", ""), where["namespace"])

    @contextmanager
    def followed(self, path: str, grown: asyncio.Event) -> Iterator[None]:
        """Set `grown` at each change of what a watch is about."""
        followers = self._followers[_where(path)["plural"]]
        followers[grown] = None
        try:
            yield
        finally:
            del followers[grown]

    def _commit(self, plural: str, event: Event) -> None:
        self._told(plural, event)
        for grown in self._followers[plural]:
            grown.set()

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: dict[str, Any], content_type: str
    ) -> Mapping[str, Any]:
        where = _where(path)
        plural, status = where["plural"], where["sub"] == "status"
        key = where["namespace"], where["name"]
        match method, bool(where["name"]):
            case "GET", True:
                return self.objects.get(plural, key)
            case "GET", False:
                match = matching(query.get("labelSelector", ""))
                items = [obj for obj in self.objects.all(plural, where["namespace"]) if match(obj)]
                return {"metadata": {"resourceVersion": str(self.objects.version)}, "items": items}
            case "POST", False:
                return self.objects.create(plural, where["namespace"], body)
            case "PATCH", True if content_type == APPLY:
                return self._apply(plural, key, body, status=status)
            case "PATCH", True:
                return self.objects.change(plural, key, partial(_merged, patch=body), status=status)
            case "DELETE", True:
                gone = self.objects.delete(plural, key, body)
                return gone if plural == "pods" else {"kind": "Status", "status": "Success"}
        raise AssertionError(f"{method} {path} is not simulated")

    def _apply(self, plural: str, key: tuple[str, str], body: KubeObject, *, status: bool) -> KubeObject:
        """One manager applies, so what it leaves out is dropped."""
        try:
            return self.objects.change(plural, key, partial(_applied, body=body), status=status)
        except StatusError as error:
            if error.code != 404 or status or "uid" in body["metadata"]:
                raise
            return self.objects.create(plural, key[0], body)


def _where(path: str) -> dict[str, str]:
    found = _PATH.fullmatch(path)
    assert found is not None, path
    return found.groupdict(default="")


def _merged(obj: KubeObject, patch: KubeObject) -> KubeObject:
    """RFC 7386."""
    merged = dict(obj)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = _merged(known if isinstance(known := merged.get(name), dict) else {}, value)
        else:
            merged[name] = value
    return merged


def _applied(obj: KubeObject, body: KubeObject) -> KubeObject:
    return {**obj, **body, "metadata": _merged(obj["metadata"], body["metadata"])}
