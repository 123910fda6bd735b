"""Several leaders, each of a part of the namespaces: whoever wins one of the shards' Leases leads that shard.

How many shards there are stands in a Lease of its own, `NAME-shards`; without it there is one. A replica that was told
another number announces it there ("2>3"), waits until no shard has a leader, and then writes it ("3"). Who holds a
Lease looks at the number once more before the term begins: it has either seen the announcement, or is seen by those
who wait. So no namespace ever has two leaders, whatever numbers the replicas of a rollout were told.
"""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from agentsession.kube.errors import NotFoundError
from agentsession.kube.lease import Election, LeaseClient
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import LEASES

MOST = 8


@dataclass(frozen=True)
class Shard:
    """One of `count` parts, numbered from 0."""

    number: int = 0
    count: int = 1

    def owns(self, namespace: str) -> bool:
        """Whether the namespace is in it: by a hash of its name, the same in every process."""
        return zlib.crc32(namespace.encode()) % self.count == self.number


ALL = Shard()


def lease_of(operator: Key, shard: int) -> Key:
    """The Lease of a shard. That of the first has the operator's own name."""
    namespace, name = operator
    return namespace, f"{name}-{shard}" if shard else name


class Agreement:
    """On how many shards there are. operator: the Lease of the first. clock: monotonic seconds."""

    def __init__(self, operator: Key, count: int, clock: Callable[[], float]) -> None:
        self._record = operator[0], f"{operator[1]}-shards"
        self._count = count
        self._leases = [Election(lease_of(operator, shard), "", clock) for shard in range(MOST)]
        self._lock = asyncio.Lock()

    async def holds(self, client: LeaseClient) -> bool:
        """Whether a term may begin under our number; it is changed while nobody leads. Raises ApiError."""
        async with self._lock:
            record = await self._read(client)
            said = record["spec"]["holderIdentity"] if record is not None else "1"
            if said == str(self._count):
                return True
            before, _, after = said.partition(">")
            most = max(int(before), int(after or 0))
            if after != str(self._count):
                record = await self._write(client, record, f"{most}>{self._count}")
            for lease in self._leases[: max(most, self._count)]:
                if not await lease.is_vacant(client):
                    return False
            await self._write(client, record, str(self._count))
            return True

    async def _read(self, client: LeaseClient) -> KubeObject | None:
        try:
            return await client.get(LEASES, self._record)
        except NotFoundError:
            return None

    async def _write(self, client: LeaseClient, record: KubeObject | None, said: str) -> KubeObject:
        """Raises ConflictError if somebody else was quicker."""
        spec = {"holderIdentity": said}
        if record is not None:
            guard = {"resourceVersion": record["metadata"]["resourceVersion"]}
            return await client.merge_patch(LEASES, self._record, {"metadata": guard, "spec": spec})
        namespace, name = self._record
        metadata = {"namespace": namespace, "name": name}
        body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
        return await client.create(LEASES, body)
