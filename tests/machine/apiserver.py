"""The HTTP of the simulated API server: paths, verbs, patches and watches."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

from aiohttp import web

from agentsession.kube.objects import KubeObject
from tests.kube.proxy import Watch

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
        self._grown: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def _commit(self, plural: str, event: Event) -> None:
        self._told(plural, event)
        self._grown.pop(plural, asyncio.Event()).set()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer what is not a watch."""
        try:
            return web.json_response(self._answer(request, await request.read(), **_where(request)))
        except StatusError as error:
            return web.json_response(error.body, status=error.code)

    @asynccontextmanager
    async def watch(self, request: web.Request) -> AsyncIterator[Watch]:
        """Answer a watch, until its time is over. It never lags behind."""
        query, where = request.query, _where(request)
        try:
            self.objects.since(where["plural"], int(query["resourceVersion"]))
        except StatusError as error:
            yield error.code, _once(json.dumps(error.body).encode())
            return
        yield 200, self._follow(where, int(query["resourceVersion"]), query)

    async def _follow(self, where: dict[str, str], version: int, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        plural = where["plural"]
        with suppress(TimeoutError):
            async with asyncio.timeout(float(query["timeoutSeconds"])):
                while True:
                    grown = self._grown[plural]
                    for event in self.objects.since(plural, version):
                        version = event.version
                        if line := seen(event, query.get("labelSelector", ""), where["namespace"]):
                            yield line
                    await grown.wait()

    def _answer(
        self, request: web.Request, raw: bytes, namespace: str, plural: str, name: str, sub: str
    ) -> Mapping[str, Any]:
        body, key = json.loads(raw) if raw else {}, (namespace, name)
        match request.method, bool(name):
            case "GET", True:
                return self.objects.get(plural, key)
            case "GET", False:
                match = matching(request.query.get("labelSelector", ""))
                items = [obj for obj in self.objects.all(plural, namespace) if match(obj)]
                return {"metadata": {"resourceVersion": str(self.objects.version)}, "items": items}
            case "POST", False:
                return self.objects.create(plural, namespace, body)
            case "DELETE", True:
                self.objects.delete(plural, key, body)
            case "PATCH", True if request.content_type == APPLY:
                return self._apply(plural, key, body, status=sub == "status")
            case "PATCH", True:
                return self.objects.change(plural, key, partial(_merged, patch=body), status=sub == "status")
        return {"kind": "Status", "status": "Success"}

    def _apply(self, plural: str, key: tuple[str, str], body: KubeObject, *, status: bool) -> KubeObject:
        """One manager applies, so what it leaves out is dropped."""
        try:
            return self.objects.change(plural, key, partial(_applied, body=body), status=status)
        except StatusError as error:
            if error.code != 404 or status or "uid" in body["metadata"]:
                raise
            return self.objects.create(plural, key[0], body)


def _where(request: web.Request) -> dict[str, str]:
    found = _PATH.fullmatch(request.path)
    assert found is not None, request.path
    return found.groupdict(default="")


async def _once(line: bytes) -> AsyncIterator[bytes]:
    yield line


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
