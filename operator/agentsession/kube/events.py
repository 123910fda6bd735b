"""Kubernetes Events about objects, for `kubectl describe`. Each is told once and never holds up or fails its teller."""

import asyncio
import logging
import math
import socket
import uuid
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from prometheus_client import Counter

from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError
from agentsession.kube.objects import KubeObject, key_of, metadata_of, uid_of
from agentsession.kube.remembered import Remembered
from agentsession.kube.resource import EVENTS

CONTROLLER = "agentsession.io/operator"
REPEAT_AFTER = 600.0
"""Seconds in which the same (object, reason, message) is told once."""
BURST = 25
INTERVAL = 1.0
"""A namespace may cause BURST Events at once, and one every INTERVAL seconds in the long run."""
QUEUE_SIZE = 1000
REMEMBERED = 10_000
MAX_NOTE = 1024
"""Characters that the API server admits in a note."""

_DROPPED = Counter("agentsession_events_dropped_total", "Events that were not written, by cause.", ["cause"])

logger = logging.getLogger(__name__)

Severity = Literal["Normal", "Warning"]


class Announcement(NamedTuple):
    """What an Event is to say."""

    severity: Severity
    reason: str
    message: str


class EventRecorder:
    """`record` from anywhere on the event loop; one task runs `run()` and writes them one by one."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._instance = socket.gethostname()
        self._queue: asyncio.Queue[KubeObject] = asyncio.Queue(QUEUE_SIZE)
        self._quiet_until = Remembered()
        self._spent_until: dict[str, float] = {}

    def record(self, obj: KubeObject, severity: Severity, reason: str, message: str) -> None:
        """Tell something about `obj`, unless it was told in the last minutes or its namespace tells too much.

        reason: one of few, in CamelCase. message: made one line, cut at MAX_NOTE.
        """
        now = asyncio.get_running_loop().time()
        event = build_event(obj, severity, reason, message, self._instance)
        fact = (uid_of(obj), reason, event["note"])
        if now < self._quiet_until.number(fact):
            return
        if self._queue.full():
            _DROPPED.labels("queue").inc()
            return
        if not self._within_budget(key_of(obj)[0], now):
            _DROPPED.labels("rate").inc()
            return
        self._quiet_until.note(fact, math.ceil(now + REPEAT_AFTER))
        self._queue.put_nowait(event)

    async def run(self) -> None:
        """Write what is recorded, for ever. An Event that cannot be written is dropped."""
        while True:
            event = await self._queue.get()
            try:
                await self._client.create(EVENTS, event)
            except ApiError as error:
                _DROPPED.labels("api").inc()
                logger.info("Event %s about %s not written: %s", event["reason"], event["regarding"]["name"], error)

    def _within_budget(self, namespace: str, now: float) -> bool:
        # A token bucket kept as one number: the time until which the namespace has spent its share.
        spent_until = max(self._spent_until.get(namespace, now), now)
        if spent_until - now > (BURST - 1) * INTERVAL:
            return False
        self._spent_until[namespace] = spent_until + INTERVAL
        if len(self._spent_until) > REMEMBERED:
            self._spent_until = {name: until for name, until in self._spent_until.items() if until > now}
        return True


def build_event(obj: KubeObject, severity: Severity, reason: str, message: str, instance: str) -> KubeObject:
    """An events.k8s.io/v1 Event about `obj`, which needs its apiVersion and kind."""
    namespace, name = key_of(obj)
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"namespace": namespace or "default", "name": f"{name[:200].rstrip('.-')}.{uuid.uuid4().hex[:16]}"},
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
        "type": severity,
        "reason": reason,
        "action": "Reconcile",
        "note": " ".join(message.split())[:MAX_NOTE],
        "regarding": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "namespace": namespace,
            "name": name,
            "uid": uid_of(obj),
            "resourceVersion": metadata_of(obj).get("resourceVersion", ""),
        },
    }
