"""Leader election on a coordination.k8s.io Lease, trusting no clock but our own monotonic one.

The holder's renewTime is never compared with a clock: what counts is when *we* saw the record change. A candidate takes
over no earlier than the record's leaseDurationSeconds after it saw the last renewal; a leader gives up after three
quarters of them, counted from when it began that renewal. The second is the shorter, so two never lead at once.

A Lease is short, so that a dead leader is followed soon. But a server that takes longer for its answers would end one
term after the other, and each new leader begins with a full queue, which does not help it. So who sees that requests
take long asks for a longer Lease, and gives each of them more time.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from agentsession.kube.errors import ApiError, NotFoundError
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import LEASES, Resource

SHORTEST, LONGEST = 4, 15
"""Seconds that a Lease lasts."""
LATENCIES = 5
"""So many times what the last request took; after a slow one, a second less with each that is not."""
DEADLINE = 3 / 4
TIMEOUT = 3 / 8
"""Parts of its duration: how long it is held, and how long one request for it may take."""
RENEW = 0.5
"""Seconds from the beginning of one renewal to that of the next."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class LeaseClient(Protocol):
    """The part of ApiClient that an election needs."""

    async def get(self, resource: Resource, key: Key) -> KubeObject: ...
    async def create(self, resource: Resource, body: KubeObject) -> KubeObject: ...
    async def merge_patch(self, resource: Resource, key: Key, patch: KubeObject) -> KubeObject: ...


async def _always(_: LeaseClient) -> bool:
    return True


class Election:
    """One candidate, for one term: a lost Lease is not tried for again.

    identity: unique to this process, or a restarted one would take itself for the holder. clock: monotonic seconds.
    agreed: asked before the Lease is taken, and once more when it is held; without it no term begins.
    `is_leader` and `epoch` may be read from any thread.
    """

    def __init__(
        self,
        key: Key,
        identity: str,
        clock: Callable[[], float],
        agreed: Callable[[LeaseClient], Awaitable[bool]] = _always,
    ) -> None:
        self.epoch = 0
        """`leaseTransitions` of our term, rising with each leader; 0 before we won."""
        self._key = key
        self._identity = identity
        self._clock = clock
        self._agreed = agreed
        self._held_until = float("-inf")
        self._duration = SHORTEST
        self._mine: KubeObject | None = None  # the Lease as we last wrote it; None when that is uncertain
        self._seen: object = None
        self._transitions = 0  # the most that were seen, also in a Lease that is not there any more
        self._seen_at = float("-inf")
        self._lasts = SHORTEST  # by what was seen last

    @property
    def is_leader(self) -> bool:
        """Whether nobody else can lead now. False once the deadline is over, even if the loop hangs."""
        return self._clock() < self._held_until

    async def run(self, client: LeaseClient, stop: asyncio.Event, on_gained: Callable[[int], None]) -> bool:
        """Campaign, lead and renew until `stop` is set (then release) or the Lease is lost.

        on_gained is called once, with the epoch. Returns False if leadership was lost.
        """
        while not stop.is_set():
            began = self._clock()
            with contextlib.suppress(TimeoutError):
                await self._step(client, on_gained)
            if self.epoch and not self.is_leader:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._patience(max(0.0, began + RENEW - self._clock())))
        await self._release(client)
        return True

    async def is_vacant(self, client: LeaseClient) -> bool:
        """Whether nobody leads now, for who asks again and again. Raises TimeoutError, ApiError."""
        return self._may_write(await self._read(client))

    def _patience(self, seconds: float) -> float:
        """No longer than we may lead, so that the loss is noticed in time."""
        return min(seconds, self._held_until - self._clock()) if self.epoch else seconds

    async def _answer(self, request: Awaitable[T]) -> T:
        """Raises TimeoutError. How long it took decides how long the next Lease lasts."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._patience(TIMEOUT * self._duration)):
                return await request
        finally:
            took = self._clock() - began
            self._duration = min(LONGEST, max(SHORTEST, math.ceil(LATENCIES * took), self._duration - 1))

    async def _step(self, client: LeaseClient, on_gained: Callable[[int], None]) -> None:
        """Look at the Lease if we are not sure of it, write it if it is ours or free."""
        lease, self._mine = self._mine, None
        try:
            lease = lease or await self._read(client)
            if not self._may_write(lease) or not (self.epoch or await self._answer(self._agreed(client))):
                return
            until = self._clock() + DEADLINE * self._duration
            self._held_until = min(self._held_until, until)  # a shorter one may be taken, and the answer lost
            self._mine = await self._answer(self._write(client, lease))
            if not self.epoch and not await self._answer(self._agreed(client)):
                await self._release(client)
                return
        except ApiError as error:
            logger.log(logging.WARNING if self.epoch else logging.INFO, "Lease %s: %s", "/".join(self._key), error)
            return
        self._held_until = until
        if not self.epoch:
            self.epoch = self._mine["spec"]["leaseTransitions"]
            on_gained(self.epoch)

    async def _read(self, client: LeaseClient) -> KubeObject | None:
        try:
            return await self._answer(client.get(LEASES, self._key))
        except NotFoundError:
            return None

    def _may_write(self, lease: KubeObject | None) -> bool:
        if lease is None and self.epoch:
            return False  # deleted under a leader: another may have made and held it meanwhile
        spec = lease["spec"] if lease is not None else {}
        holder = spec.get("holderIdentity")
        if holder == self._identity:
            return True
        if self.epoch:
            self._held_until = float("-inf")
            return False
        self._transitions = max(self._transitions, spec.get("leaseTransitions", 0))
        if spec != self._seen and (spec or self._seen is not None):  # one that vanished may still have its leader
            self._seen, self._seen_at = spec, self._clock()
            self._lasts = spec.get("leaseDurationSeconds", self._lasts)
        released = lease is not None and not holder
        return released or self._clock() - self._seen_at >= self._lasts

    async def _write(self, client: LeaseClient, lease: KubeObject | None) -> KubeObject:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # for people to read
        spec: dict[str, object] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._duration,
            "renewTime": now,
        }
        old = lease["spec"] if lease else {}
        if old.get("holderIdentity") != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": max(self._transitions, old.get("leaseTransitions", 0)) + 1}
        if lease is None:
            namespace, name = self._key
            return await client.create(
                LEASES,
                {
                    "apiVersion": LEASES.api_version,
                    "kind": LEASES.kind,
                    "metadata": {"namespace": namespace, "name": name},
                    "spec": spec,
                },
            )
        guard = {"resourceVersion": lease["metadata"]["resourceVersion"]}
        return await client.merge_patch(LEASES, self._key, {"metadata": guard, "spec": spec})

    async def _release(self, client: LeaseClient) -> None:
        """Let the next leader start at once. If this fails, it waits until the Lease runs out."""
        lease, self._mine = self._mine, None
        self._held_until = float("-inf")
        if lease is None:
            return
        guard = {"resourceVersion": lease["metadata"]["resourceVersion"]}
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(TIMEOUT * self._duration):
                await client.merge_patch(LEASES, self._key, {"metadata": guard, "spec": {"holderIdentity": None}})
