"""Requests to the API server: typed errors, deadlines, bounded concurrency, metrics. It decides nothing.

Writes are server-side apply under one field manager where the caller owns the fields, and guarded patches where it does
not. Unknown fields are refused by the server: a security setting that an older server would drop must fail loudly.
"""

import asyncio
import itertools
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, cast

import aiohttp
from prometheus_client import Counter, Histogram
from pydantic_core import from_json
from yarl import URL

from agentsession.kube import errors
from agentsession.kube.objects import Key, KubeObject, key_of
from agentsession.kube.resource import Resource

FIELD_MANAGER = "agentsession-operator"
REQUEST_TIMEOUT = 10.0
"""Seconds for one request with its answer."""
CONCURRENCY = 50
"""Requests in flight per client; watches are not counted."""
PAGE = 500
"""Objects per page of a list."""
MAX_SHED_RETRIES = 3
MAX_SHED_WAIT = 5.0
"""Seconds to wait at most, inside the client, for an overloaded server before each of those retries."""

_SECONDS = Histogram(
    "agentsession_kube_request_seconds", "Time of an API request, by verb and resource.", ["verb", "resource"]
)
_REQUESTS = Counter(
    "agentsession_kube_requests_total",
    "API requests by verb, resource and HTTP status; code 0 had no answer.",
    ["verb", "resource", "code"],
)

_VERBS = {
    "get": ("GET", ""),
    "list": ("GET", ""),
    "create": ("POST", "application/json"),
    "apply": ("PATCH", "application/apply-patch+yaml"),
    "apply_status": ("PATCH", "application/apply-patch+yaml"),
    "merge_patch": ("PATCH", "application/merge-patch+json"),
    "json_patch": ("PATCH", "application/json-patch+json"),
    "delete": ("DELETE", "application/json"),
}
_BASIC_PLANE = re.compile("[\x7f-\uffff]")
"""What is not ASCII, and not above: some of it, YAML does not take as it stands."""
_MANAGED = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
_WRITE_PARAMS: Mapping[str, Mapping[str, str]] = {
    "create": _MANAGED,
    "apply": {**_MANAGED, "force": "true"},
    "apply_status": {**_MANAGED, "force": "true"},
    "merge_patch": _MANAGED,
    "json_patch": _MANAGED,
}


class WatchEvent(TypedDict):
    """One line of a watch. `object` is a metav1.Status where the type is ERROR."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: KubeObject


@dataclass(frozen=True)
class ObjectList:
    """What a list returned: all pages, and the resourceVersion that they are a snapshot of."""

    items: Sequence[KubeObject]
    resource_version: str


class ApiClient:
    """One API server over one HTTP session that somebody else opens and closes.

    Every method raises a subclass of `errors.ApiError`. Objects are sent and returned as plain JSON, without their
    managedFields.
    """

    def __init__(
        self,
        server: str,
        session: aiohttp.ClientSession,
        *,
        timeout: float = REQUEST_TIMEOUT,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._server = server
        self._session = session
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)

    async def get(self, resource: Resource, key: Key) -> KubeObject:
        """Read one object, not from any cache. Raises NotFoundError."""
        return await self._request("get", resource, resource.path(key))

    async def list(
        self, resource: Resource, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Read all objects, in pages, as of one moment. Raises GoneError if paging took longer than that is kept."""
        items: list[KubeObject] = []
        params = _present(labelSelector=label_selector, fieldSelector=field_selector, limit=str(PAGE))
        while True:
            page = await self._request("list", resource, resource.collection(namespace), params=params)
            # The server leaves these out of the items of built-in lists, but sends them in watch events.
            items += [
                {"apiVersion": resource.api_version, "kind": resource.kind, **_read(item)} for item in page["items"]
            ]
            if not page["metadata"].get("continue"):
                return ObjectList(items, page["metadata"]["resourceVersion"])
            params["continue"] = page["metadata"]["continue"]

    async def create(self, resource: Resource, body: KubeObject) -> KubeObject:
        """Create an object, or a review (whose answer is the status of what is returned). Raises AlreadyExistsError."""
        path = resource.collection(key_of(body)[0] if resource.namespaced else "")
        return await self._request("create", resource, path, body=body)

    async def apply(self, resource: Resource, body: KubeObject) -> KubeObject:
        """Server-side apply, forced: create it, or make the fields of `body` so and drop those applied before.

        A metadata.uid or resourceVersion in `body` is a precondition. Raises ConflictError where it does not hold.
        """
        return await self._request("apply", resource, resource.path(key_of(body)), body=body)

    async def apply_status(
        self,
        resource: Resource,
        key: Key,
        status: Mapping[str, object],
        *,
        uid: str,
        resource_version: str = "",
    ) -> KubeObject:
        """Server-side apply of the whole status of the object with that uid.

        resource_version: if given, the object must not have changed since. Custom resources need it: the server does
        not look at the uid that comes with their status. Raises NotFoundError, ConflictError.
        """
        namespace, name = key
        metadata = _present(namespace=namespace, name=name, uid=uid, resourceVersion=resource_version)
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "status": status}
        return await self._request("apply_status", resource, resource.path(key, "status"), body=body)

    async def merge_patch(self, resource: Resource, key: Key, patch: Mapping[str, object]) -> KubeObject:
        """RFC 7386. A metadata.resourceVersion in `patch` is a precondition; ConflictError where it does not hold."""
        return await self._request("merge_patch", resource, resource.path(key), body=patch)

    async def json_patch(self, resource: Resource, key: Key, operations: Sequence[Mapping[str, object]]) -> KubeObject:
        """RFC 6902: `operations`, all or nothing. Raises InvalidError where a `test` fails."""
        return await self._request("json_patch", resource, resource.path(key), body=operations)

    async def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> KubeObject:
        """Ask for deletion, dependents in the background. Returns the object, of a pod; of other kinds maybe a Status.

        uid, resource_version: if given, ConflictError unless the object is that one, that old. Raises NotFoundError.
        """
        options: dict[str, object] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if preconditions := _present(uid=uid, resourceVersion=resource_version):
            options["preconditions"] = preconditions
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        return await self._request("delete", resource, resource.path(key), body=options)

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        resource_version: str,
        seconds: int,
    ) -> AsyncGenerator[WatchEvent | None, None]:
        """Events since that resourceVersion, until the server ends the stream after `seconds`.

        Yields None once when the server has accepted the watch. Raises UnreachableError for a broken or silent stream:
        one that is open two seconds longer than it should be.
        """
        params = _present(
            watch="true",
            allowWatchBookmarks="true",
            labelSelector=label_selector,
            resourceVersion=resource_version,
            timeoutSeconds=str(seconds),
        )
        url = URL(self._server + resource.collection(namespace)).with_query(params)
        limit = aiohttp.ClientTimeout(total=seconds + 2.0)
        try:
            async with self._session.get(url, timeout=limit, allow_redirects=False) as response:
                _REQUESTS.labels("watch", resource.plural, response.status).inc()
                if response.status != 200:
                    raise await _error(response, is_write=False)
                yield None
                async for line in _lines(response.content):
                    yield _event(line)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise errors.UnreachableError(0, "WatchBroken", f"watch of {resource.plural}: {error!r}") from error

    async def _request(
        self,
        verb: str,
        resource: Resource,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> dict[str, Any]:
        """One request, repeated only where the server said that it did not carry it out."""
        url = URL(self._server + path).with_query({**(params or {}), **_WRITE_PARAMS.get(verb, {})})
        data = None if body is None else _encoded(body)
        for attempt in itertools.count(1):
            try:
                async with self._slots:
                    return await self._once(verb, resource, url, data)
            except errors.TooManyRequestsError as error:
                wait = error.retry_after or 1.0
                if attempt > MAX_SHED_RETRIES or wait > MAX_SHED_WAIT:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("the loop above has no end")

    async def _once(self, verb: str, resource: Resource, url: URL, data: bytes | None) -> dict[str, Any]:
        method, content_type = _VERBS[verb]
        is_write = method != "GET"
        code = 0
        started = time.monotonic()
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers={"Content-Type": content_type} if is_write else None,
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                allow_redirects=False,  # the token is for this server only
            ) as response:
                code = response.status
                if code >= 300:
                    raise await _error(response, is_write=is_write)
                answer: dict[str, Any] = from_json(await response.read(), cache_strings="keys")
                return _read(answer)
        except aiohttp.ClientConnectorError as error:
            raise errors.UnreachableError(0, "Unreachable", f"{method} {url.path}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError) as error:
            kind = errors.UnknownOutcomeError if is_write else errors.UnreachableError
            raise kind(0, "NoAnswer", f"{method} {url.path}: {error!r}") from error
        finally:
            _SECONDS.labels(verb, resource.plural).observe(time.monotonic() - started)
            _REQUESTS.labels(verb, resource.plural, code).inc()


def _encoded(body: object) -> bytes:
    """JSON that is YAML as well, since an apply is read as such: there an escape is a code point, never a surrogate."""
    text = json.dumps(body, ensure_ascii=False)
    return _BASIC_PLANE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _read(obj: dict[str, Any]) -> dict[str, Any]:
    """Without what nobody here reads, and is as long as all the rest: who wrote which field."""
    obj.get("metadata", {}).pop("managedFields", None)
    return obj


def _event(line: bytes) -> WatchEvent:
    event = cast(WatchEvent, from_json(line, cache_strings="keys"))
    if event["type"] != "ERROR":
        _read(cast(dict[str, Any], event["object"]))
    return event


async def _error(response: aiohttp.ClientResponse, *, is_write: bool) -> errors.ApiError:
    return errors.from_response(
        response.status, await response.read(), retry_after=response.headers.get("Retry-After"), is_write=is_write
    )


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    # StreamReader.readline() refuses lines above 128 KiB; objects may be larger.
    rest = bytearray()
    async for chunk in content.iter_any():
        *lines, tail = chunk.split(b"\n")
        for line in lines:
            yield bytes(rest + line)
            rest.clear()
        rest += tail


def _present(**params: str) -> dict[str, str]:
    """Those that are set."""
    return {name: value for name, value in params.items() if value}
