"""Several leaders in fake time: each shard has one at most, whatever numbers of shards the replicas were told."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsession.api.installation import MOST_SHARDS
from agentsession.kube.errors import AlreadyExistsError, ConflictError, NotFoundError, UnknownOutcomeError
from agentsession.kube.lease import SHORTEST, Election
from agentsession.kube.objects import Key, KubeObject, key_of
from agentsession.kube.resource import LEASES, Resource
from agentsession.kube.shards import MOST, Agreement, Shard, lease_of
from tests.kube.fake_time import FakeTimeLoop, in_fake_time

pytestmark = pytest.mark.unit

OPERATOR = ("system", "operator")
RECORD = ("system", "operator-shards")
LATENCY = 0.01


@dataclass
class Server:
    """etcd: Leases with optimistic locking."""

    leases: dict[Key, KubeObject] = field(default_factory=dict)
    version: int = 0

    def write(self, key: Key, spec: KubeObject, expected: str | None) -> KubeObject:
        known = self.leases.get(key)
        if expected is None and known is not None:
            raise AlreadyExistsError(409, "AlreadyExists", "it is there")
        if expected is not None and (known is None or known["metadata"]["resourceVersion"] != expected):
            raise ConflictError(409, "Conflict", "it was changed")
        self.version += 1
        merged = {**(known["spec"] if known else {}), **spec}
        spec = {name: value for name, value in merged.items() if value is not None}
        self.leases[key] = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return self.leases[key]


@dataclass
class Network:
    """One replica's way to the server. slow: seconds that the next requests take, in order; None loses the answer."""

    server: Server
    slow: list[float | None] = field(default_factory=list)

    async def _travel(self, act: Callable[[], KubeObject]) -> KubeObject:
        takes = self.slow.pop(0) if self.slow else LATENCY
        await asyncio.sleep((takes or LATENCY) / 2)
        answer = act()
        await asyncio.sleep((takes or LATENCY) / 2)
        if takes is None:
            raise UnknownOutcomeError(0, "NoAnswer", "lost on the way back")
        return answer

    async def get(self, resource: Resource, key: Key) -> KubeObject:
        assert resource is LEASES

        def read() -> KubeObject:
            if key not in self.server.leases:
                raise NotFoundError(404, "NotFound", "no such lease")
            return self.server.leases[key]

        return await self._travel(read)

    async def create(self, _: Resource, body: KubeObject) -> KubeObject:
        return await self._travel(lambda: self.server.write(key_of(body), body["spec"], None))

    async def merge_patch(self, _: Resource, key: Key, patch: KubeObject) -> KubeObject:
        return await self._travel(lambda: self.server.write(key, patch["spec"], patch["metadata"]["resourceVersion"]))


class Replica:
    """Campaigns for every shard, as the elector does."""

    def __init__(self, name: str, count: int, network: Network) -> None:
        clock = asyncio.get_running_loop().time
        agreed = Agreement(OPERATOR, count, clock).holds
        self.shards = {
            Shard(number, count): Election(lease_of(OPERATOR, number), name, clock, agreed) for number in range(count)
        }
        self.stops = {shard: asyncio.Event() for shard in self.shards}
        self.won: Shard | None = None
        self.tasks = [
            asyncio.create_task(election.run(network, self.stops[shard], partial(self._begin, shard)))
            for shard, election in self.shards.items()
        ]

    def _begin(self, shard: Shard, _: int) -> None:
        if self.won is None:
            self.won = shard
            self.end(but=shard)

    def end(self, but: Shard | None = None) -> None:
        for shard, stop in self.stops.items():
            if shard != but:
                stop.set()

    def kill(self) -> None:
        for task in self.tasks:
            task.cancel()

    @property
    def leads(self) -> Shard | None:
        return self.won if self.won is not None and self.shards[self.won].is_leader else None


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.05)


def led(replicas: list[Replica]) -> list[Shard]:
    found = [replica.leads for replica in replicas]
    return sorted((shard for shard in found if shard is not None), key=lambda shard: shard.number)


def check(replicas: list[Replica]) -> None:
    """No namespace has two leaders: those that lead do so under one number, each another shard."""
    shards = led(replicas)
    assert len({shard.count for shard in shards}) <= 1
    assert max(Counter(shards).values(), default=0) <= 1


def test_each_namespace_is_in_one_shard_and_all_are_used() -> None:
    names = [f"team-{number}" for number in range(200)]
    parts = Counter(number for name in names for number in range(4) if Shard(number, 4).owns(name))
    assert parts.total() == len(names)
    assert min(parts.values()) > 30
    assert all(Shard().owns(name) for name in names)


def test_the_installation_admits_as_many_shards_as_there_are_leases() -> None:
    assert MOST == MOST_SHARDS


@in_fake_time
async def test_with_one_shard_nothing_is_written_but_its_lease() -> None:
    server = Server()
    one = Replica("one", 1, Network(server))
    await until(lambda: one.leads is not None)
    assert list(server.leases) == [OPERATOR]
    one.kill()


@in_fake_time
async def test_each_shard_finds_a_leader_and_the_one_that_is_left_over_takes_the_first_that_is_lost() -> None:
    server = Server()
    replicas = [Replica(str(number), 3, Network(server)) for number in range(4)]
    await until(lambda: len(led(replicas)) == 3)
    check(replicas)
    spare = next(replica for replica in replicas if replica.leads is None)
    lost = next(replica for replica in replicas if replica.leads == Shard(1, 3))
    lost.kill()
    await until(lambda: spare.leads is not None)
    assert spare.leads == Shard(1, 3)
    for replica in replicas:
        replica.kill()


@in_fake_time
async def test_another_number_waits_until_nobody_leads_and_who_was_told_the_old_one_stays_away() -> None:
    server = Server()
    old = [Replica(f"old-{number}", 1, Network(server)) for number in range(2)]
    await until(lambda: len(led(old)) == 1)
    new = [Replica(f"new-{number}", 2, Network(server)) for number in range(2)]
    for _ in range(200):
        await asyncio.sleep(0.1)
        check(old + new)
    assert len(led(old)) == 1
    for replica in old:
        replica.end()
    await until(lambda: len(led(new)) == 2)
    assert server.leases[RECORD]["spec"]["holderIdentity"] == "2"
    late = Replica("late", 1, Network(server))
    for replica in new:
        replica.kill()  # without a release
    await asyncio.sleep(SHORTEST - 1)
    assert late.leads is None
    await until(lambda: late.leads == Shard(0, 1))
    late.kill()


requests = st.lists(st.one_of(st.none(), st.floats(0.0, 6.0)), max_size=40)
replicas_told = st.lists(
    st.tuples(st.integers(1, 3), requests, st.floats(0.0, 8.0), st.booleans()), min_size=2, max_size=5
)


@settings(max_examples=60, deadline=None)
@given(replicas_told)
def test_no_namespace_has_two_leaders_whatever_replicas_were_told(
    told: list[tuple[int, list[float | None], float, bool]],
) -> None:
    async def scenario() -> None:
        server = Server()
        replicas: list[Replica] = []
        for count, slow, pause, releases in told:
            replicas.append(Replica(str(len(replicas)), count, Network(server, list(slow))))
            for _ in range(int(10 * pause)):
                await asyncio.sleep(0.1)
                check(replicas)
            if releases:
                replicas[0].end()
        for _ in range(300):
            await asyncio.sleep(0.1)
            check(replicas)
        for replica in replicas:
            replica.kill()

    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        runner.run(scenario())
