"""List and watch one kind into a Store: for processes without kopf, and for pods, which change too often for it.

The watch is opened anew every few seconds. So a healthy one shows progress even in a quiet cluster, where the server's
own bookmarks come about once a minute, and whoever must not act on an old picture can ask for the `silence`.
"""

import asyncio
import contextlib
import logging
import random

from prometheus_client import Gauge

from agentsession.kube.cache import Changed, Store
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError, GoneError, from_status
from agentsession.kube.objects import key_of, metadata_of
from agentsession.kube.resource import Resource

WATCH_SECONDS = 5
FIRST_BACKOFF = 0.2
MAX_BACKOFF = 5.0
"""Seconds between attempts after errors: doubled from the first to the longest, each shortened by up to a half."""
RECONNECT_PAUSE = 0.1
"""Seconds between a stream that ended well and the next, so that a proxy that ends each at once makes no busy loop."""

_SILENCE = Gauge(
    "agentsession_watch_silence_seconds", "Since the API server was last heard about a kind, by resource.", ["resource"]
)
logger = logging.getLogger(__name__)


class Reflector:
    """Keeps `store` equal to what the API server has. One task runs `run()`; cancel it to stop.

    on_change is told of each object that appeared, changed or vanished, after the store has it.
    """

    def __init__(
        self,
        client: ApiClient,
        resource: Resource,
        store: Store,
        *,
        label_selector: str = "",
        on_change: Changed = lambda *_: None,
    ) -> None:
        self._last_progress = float("-inf")
        self._client = client
        self._resource = resource
        self._store = store
        self._label_selector = label_selector
        self._on_change = on_change
        self._version = ""
        self._failures = 0
        _SILENCE.labels(resource.plural).set_function(self.silence)

    def silence(self) -> float:
        """Seconds since the API server was last heard: list, connection, event or bookmark. Infinite before."""
        return asyncio.get_running_loop().time() - self._last_progress

    async def run(self) -> None:
        """List, then watch, for ever. Errors are logged and tried again."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                await asyncio.sleep(RECONNECT_PAUSE)
            except ApiError as error:
                if isinstance(error, GoneError):
                    self._version = ""
                delay = min(MAX_BACKOFF, FIRST_BACKOFF * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311
                self._failures += 1
                logger.warning("Watching %s: %s. Next try in %.1f s.", self._resource.plural, error, delay)
                await asyncio.sleep(delay)

    async def _list(self) -> None:
        found = await self._client.list(self._resource, label_selector=self._label_selector)
        self._version = found.resource_version
        self._progress()
        for key in self._store.replace(found.items, found.resource_version):
            self._on_change(key, self._store.get(key))

    async def _watch(self) -> None:
        stream = self._client.watch(
            self._resource,
            label_selector=self._label_selector,
            resource_version=self._version,
            seconds=WATCH_SECONDS,
        )
        async with contextlib.aclosing(stream):
            async for event in stream:
                self._progress()
                if event is None:
                    continue
                if event["type"] == "ERROR":
                    raise from_status(event["object"])
                self._version = metadata_of(event["object"])["resourceVersion"]
                if event["type"] != "BOOKMARK" and self._store.observe(event["type"], event["object"]):
                    self._on_change(key_of(event["object"]), event["object"])

    def _progress(self) -> None:
        self._last_progress = asyncio.get_running_loop().time()
        self._failures = 0
