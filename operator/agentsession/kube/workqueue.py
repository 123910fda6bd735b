"""The keyed work queue between watches and workers.

A key is with one worker at a time; however often it is added meanwhile, it runs once more. Two priorities, namespaces
in turn, so one busy tenant or one broken object delays nobody else. All time is the event loop's own: a test that turns
that clock turns the queue's.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum

from prometheus_client import Counter, Gauge, Histogram

from agentsession.kube.objects import Key

BASE_DELAY = 0.2
MAX_DELAY = 300.0
"""Seconds of back-off: doubled per failure from the base to the longest, each shortened by up to a half."""
HIGH_IN_A_ROW = 16
"""After so many high-priority keys one normal key has its turn, so that a flood of claims cannot stop housekeeping."""

_DEPTH = Gauge("agentsession_queue_depth", "Keys that are ready and wait for a worker.", ["queue"])
_WAIT = Histogram("agentsession_queue_wait_seconds", "From ready to a worker.", ["queue", "priority"])
_RETRIES = Counter("agentsession_queue_retries_total", "Keys put back after a failure.", ["queue"])


class Priority(IntEnum):
    """The lower runs first."""

    HIGH = 0
    NORMAL = 1


class _Turns:
    """Keys with the time since which they wait: first in, first out, but the namespaces take turns."""

    def __init__(self) -> None:
        self._by_namespace: OrderedDict[str, dict[Key, float]] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._by_namespace.get(key[0], ())

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._by_namespace.values())

    def push(self, key: Key, since: float) -> None:
        self._by_namespace.setdefault(key[0], {})[key] = since

    def pop(self) -> tuple[Key, float]:
        namespace, keys = next(iter(self._by_namespace.items()))
        key = next(iter(keys))
        since = self.remove(key)
        if keys:
            self._by_namespace.move_to_end(namespace)
        return key, since

    def remove(self, key: Key) -> float:
        keys = self._by_namespace[key[0]]
        since = keys.pop(key)
        if not keys:
            del self._by_namespace[key[0]]
        return since


class WorkQueue:
    """`key = await get()`, work, then one of `forget`, `retry` or `add_after`, and always `done`.

    A key waits at most once, so the queue is never longer than the caches behind it.
    Belongs to one event loop. All methods but `get` return at once.
    """

    def __init__(
        self,
        name: str,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._name = name
        self._uniform = uniform
        self._ready = {priority: _Turns() for priority in Priority}
        self._ready_count = asyncio.Semaphore(0)
        self._delayed: dict[Key, asyncio.TimerHandle] = {}
        self._working: dict[Key, Priority] = {}
        self._dirty: dict[Key, Priority] = {}  # added while a worker had them
        self._failures: dict[Key, int] = {}
        self._high_in_a_row = 0

    def add(self, key: Key, priority: Priority = Priority.NORMAL) -> None:
        """Have the key worked on as soon as a worker is free, whatever delay it was waiting for."""
        high, normal = self._ready[Priority.HIGH], self._ready[Priority.NORMAL]
        if key in self._working:
            self._dirty[key] = min(priority, self._dirty.get(key, priority))
        elif key in normal and priority is Priority.HIGH:
            high.push(key, normal.remove(key))
        elif key not in normal and key not in high:
            self._end_delay(key)
            self._ready[priority].push(key, self._now())
            self._ready_count.release()
            _DEPTH.labels(self._name).inc()

    def add_after(self, key: Key, delay: float, priority: Priority = Priority.NORMAL) -> None:
        """Have the key worked on in `delay` seconds, unless it will be sooner anyway."""
        due = self._now() + delay
        timer = self._delayed.get(key)
        sooner = key in self._dirty or any(key in turns for turns in self._ready.values())
        if not sooner and (timer is None or due < timer.when()):
            self._end_delay(key)
            self._delayed[key] = asyncio.get_running_loop().call_at(due, self._come_due, key, priority)

    def retry(self, key: Key, min_delay: float = 0.0) -> float:
        """After a failure: again, with its priority, after this key's back-off but not before `min_delay` seconds.

        Returns the delay in seconds.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        backoff = min(MAX_DELAY, BASE_DELAY * 2.0 ** min(failures, 16)) * self._uniform(0.5, 1.0)
        delay = max(backoff, min(min_delay, MAX_DELAY))
        _RETRIES.labels(self._name).inc()
        self.add_after(key, delay, self._working.get(key, Priority.NORMAL))
        return delay

    def forget(self, key: Key) -> None:
        """After a success: the next failure starts at the base delay again."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Wait for a key. No other worker gets it until `done`."""
        await self._ready_count.acquire()
        priority = self._next_priority()
        key, since = self._ready[priority].pop()
        self._working[key] = priority
        _DEPTH.labels(self._name).dec()
        _WAIT.labels(self._name, priority.name.lower()).observe(self._now() - since)
        return key

    def done(self, key: Key) -> None:
        """The worker has finished with the key. If it was added meanwhile, it is ready again."""
        del self._working[key]
        if key in self._dirty:
            self.add(key, self._dirty.pop(key))

    def _next_priority(self) -> Priority:
        high, normal = self._ready[Priority.HIGH], self._ready[Priority.NORMAL]
        if not high or (normal and self._high_in_a_row >= HIGH_IN_A_ROW):
            self._high_in_a_row = 0
            return Priority.NORMAL
        self._high_in_a_row += 1
        return Priority.HIGH

    def _come_due(self, key: Key, priority: Priority) -> None:
        del self._delayed[key]
        self.add(key, priority)

    def _end_delay(self, key: Key) -> None:
        if (timer := self._delayed.pop(key, None)) is not None:
            timer.cancel()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def __len__(self) -> int:
        """Keys that are ready and wait for a worker."""
        return sum(len(turns) for turns in self._ready.values())
