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
from .patches import APPLY, JSON, applied, merged, patched

_PATH = re.compile(
    r"/apis?/(?:[^/]+/)?v[^/]+(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$"
)


class ApiServer:
    """Serves `objects`; `committed` is told of each change in the moment of it."""

    def __init__(self, now: Callable[[], datetime], committed: Callable[[str, Event], None]) -> None:
        self.objects = Objects(now, self._commit)
        self.asks = ""
        """Whose request was carried out last."""
        self._told = committed
        self._followers: dict[str, dict[asyncio.Event, None]] = defaultdict(dict)

    def answer(
        self, client: str, method: str, path: str, query: Mapping[str, str], body: bytes | None, content_type: str
    ) -> tuple[int, bytes]:
        """Carry out a request that is no watch. Returns status and body."""
        self.asks = client
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
        self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: str
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
            case "PATCH", True if content_type == JSON:
                return self.objects.change(plural, key, partial(patched, operations=body), status=status)
            case "PATCH", True:
                return self.objects.change(plural, key, partial(merged, patch=body), status=status)
            case "DELETE", True:
                gone = self.objects.delete(plural, key, body)
                return gone if plural == "pods" else {"kind": "Status", "status": "Success"}
        raise AssertionError(f"{method} {path} is not simulated")

    def _apply(self, plural: str, key: tuple[str, str], body: KubeObject, *, status: bool) -> KubeObject:
        try:
            return self.objects.change(plural, key, partial(applied, body=body), status=status)
        except StatusError as error:
            if error.code != 404 or status or "uid" in body["metadata"]:
                raise
            return self.objects.create(plural, key[0], body)


def _where(path: str) -> dict[str, str]:
    found = _PATH.fullmatch(path)
    assert found is not None, path
    return found.groupdict(default="")
