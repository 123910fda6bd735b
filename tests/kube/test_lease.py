"""The election in fake time, with a Lease in memory that keeps the API server's promises, over a bad network."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsession.kube import lease
from agentsession.kube.errors import AlreadyExistsError, ConflictError, NotFoundError, UnknownOutcomeError
from agentsession.kube.lease import DEADLINE, LONGEST, RENEW, SHORTEST, Election
from agentsession.kube.objects import Key, KubeObject, key_of
from agentsession.kube.resource import LEASES, Resource
from tests.kube.fake_time import FakeTimeLoop, in_fake_time, now

pytestmark = pytest.mark.unit

KEY = ("system", "operator")
FOREVER = 1e6
HELD = DEADLINE * SHORTEST
"""Seconds after its last renewal that a leader ends, if the server has been quick."""


@dataclass
class LeaseHolder:
    """etcd: one Lease with optimistic locking."""

    lease: KubeObject | None = None
    version: int = 0

    def write(self, spec: KubeObject, expected: str | None) -> KubeObject:
        if expected is not None and self.lease is None:
            raise NotFoundError(404, "NotFound", "no such lease")
        if expected is None and self.lease is not None:
            raise AlreadyExistsError(409, "AlreadyExists", "it is there")
        if self.lease is not None and expected != self.lease["metadata"]["resourceVersion"]:
            raise ConflictError(409, "Conflict", "it was changed")
        self.version += 1
        merged = {**(self.lease["spec"] if self.lease else {}), **spec}
        spec = {name: value for name, value in merged.items() if value is not None}
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return self.lease


@dataclass
class Network:
    """One candidate's way to the Lease. `faults` is consumed request by request, then all is well.

    A number is the latency in seconds, half before and half after the request takes effect. "lost" commits the request
    and loses the answer, "refused" loses the request.
    """

    server: LeaseHolder
    faults: list[float | str] = field(default_factory=list)
    down: bool = False

    async def _travel(self, act: object) -> KubeObject:
        fault: float | str = self.faults.pop(0) if self.faults else 0.01
        if self.down:
            fault = FOREVER
        if fault == "refused":
            raise UnknownOutcomeError(0, "NoAnswer", "lost on the way there")
        delay = fault / 2 if isinstance(fault, float) else 0.01
        await asyncio.sleep(delay)
        assert callable(act)
        answer: KubeObject = act()
        await asyncio.sleep(delay)
        if fault == "lost":
            raise UnknownOutcomeError(0, "NoAnswer", "lost on the way back")
        return answer

    async def get(self, resource: Resource, key: Key) -> KubeObject:
        assert (resource, key) == (LEASES, KEY)

        def read() -> KubeObject:
            if self.server.lease is None:
                raise NotFoundError(404, "NotFound", "no such lease")
            return self.server.lease

        return await self._travel(read)

    async def create(self, resource: Resource, body: KubeObject) -> KubeObject:
        assert (resource, key_of(body)) == (LEASES, KEY)
        return await self._travel(lambda: self.server.write(body["spec"], None))

    async def merge_patch(self, resource: Resource, key: Key, patch: KubeObject) -> KubeObject:
        assert (resource, key) == (LEASES, KEY)
        return await self._travel(lambda: self.server.write(patch["spec"], patch["metadata"]["resourceVersion"]))


class Candidate:
    """An Election with its task and what became of it."""

    def __init__(self, name: str, server: LeaseHolder, faults: list[float | str] | None = None) -> None:
        self.network = Network(server, faults or [])
        self.election = Election(KEY, name, asyncio.get_running_loop().time)
        self.stop = asyncio.Event()
        self.gained: list[int] = []
        self.leads = asyncio.Event()
        self.task = asyncio.create_task(self.election.run(self.network, self.stop, self._on_gained))

    def _on_gained(self, epoch: int) -> None:
        self.gained.append(epoch)
        self.leads.set()


@in_fake_time
async def test_the_first_candidate_leads_at_once_and_keeps_leading() -> None:
    server = LeaseHolder()
    one = Candidate("one", server)
    await one.leads.wait()
    assert now() < 0.2
    other = Candidate("other", server)
    for _ in range(1000):
        await asyncio.sleep(0.1)
        assert one.election.is_leader
        assert not other.election.is_leader
    assert (one.gained, one.election.epoch, other.election.epoch) == ([1], 1, 0)
    one.task.cancel()
    other.task.cancel()


@in_fake_time
async def test_a_release_lets_the_next_one_start_at_once_in_a_higher_epoch() -> None:
    server = LeaseHolder()
    one, other = Candidate("one", server), Candidate("other", server)
    await one.leads.wait()
    await asyncio.sleep(10)
    one.stop.set()
    assert await one.task is True
    assert not one.election.is_leader
    released = now()
    await other.leads.wait()
    assert now() - released < 1
    assert other.election.epoch == 2
    other.stop.set()
    await other.task


@in_fake_time
async def test_a_term_that_is_not_agreed_on_once_the_lease_is_held_does_not_begin() -> None:
    """It may have changed while the Lease was being written."""
    server, said = LeaseHolder(), [True, False, False, True, True]
    asked = iter(said)

    async def agreed(_: object) -> bool:
        return next(asked)

    gained: list[int] = []
    election = Election(KEY, "one", asyncio.get_running_loop().time, agreed)
    task = asyncio.create_task(election.run(Network(server), asyncio.Event(), gained.append))
    await asyncio.sleep(RENEW / 2)
    assert (gained, election.is_leader) == ([], False)
    assert server.lease is not None
    assert "holderIdentity" not in server.lease["spec"]
    await asyncio.sleep(2 * RENEW)
    assert election.is_leader
    assert next(asked, None) is None
    task.cancel()


@in_fake_time
async def test_a_candidate_that_stops_before_it_leads_takes_nothing_away() -> None:
    server = LeaseHolder()
    one, other = Candidate("one", server), Candidate("other", server)
    await one.leads.wait()
    other.stop.set()
    assert await other.task is True
    await asyncio.sleep(10)
    assert one.election.is_leader
    one.task.cancel()


@in_fake_time
async def test_a_leader_that_is_cut_off_gives_up_before_another_takes_over() -> None:
    server = LeaseHolder()
    one, other = Candidate("one", server), Candidate("other", server)
    await one.leads.wait()
    await asyncio.sleep(10)
    one.network.down, cut_off = True, now()
    assert await one.task is False
    lost_after = now() - cut_off
    assert lost_after <= HELD + 0.1, "the loss was noticed late"
    assert not other.election.is_leader
    await other.leads.wait()
    assert HELD < now() - cut_off <= SHORTEST + 1.5
    other.task.cancel()


@in_fake_time
async def test_a_crashed_leader_is_replaced_without_looking_at_its_clock() -> None:
    server = LeaseHolder()
    server.write({"holderIdentity": "dead", "leaseDurationSeconds": 4, "renewTime": "2999-01-01T00:00:00Z"}, None)
    one = Candidate("one", server)
    await one.leads.wait()
    assert SHORTEST <= now() <= SHORTEST + 1.5
    one.task.cancel()


@in_fake_time
async def test_a_holder_with_a_longer_lease_gets_it() -> None:
    server = LeaseHolder()
    server.write({"holderIdentity": "other version", "leaseDurationSeconds": 15, "leaseTransitions": 7}, None)
    one = Candidate("one", server)
    await one.leads.wait()
    assert 15 <= now() <= 17
    assert one.election.epoch == 8
    one.task.cancel()


@in_fake_time
async def test_after_a_lease_was_deleted_the_next_leader_waits_and_its_epoch_is_higher() -> None:
    server = LeaseHolder()
    server.write({"holderIdentity": "", "leaseTransitions": 7}, None)
    one = Candidate("one", server)
    await one.leads.wait()
    other = Candidate("other", server)
    await asyncio.sleep(10)
    server.lease, deleted = None, now()
    await other.leads.wait()
    assert not one.election.is_leader
    assert HELD < now() - deleted <= SHORTEST + 1.5
    assert other.election.epoch == one.election.epoch + 1 == 9
    other.task.cancel()


@pytest.mark.parametrize("fault", ["lost", "refused", 7.5])
@in_fake_time
async def test_one_bad_request_does_not_end_a_term(fault: float | str) -> None:
    server = LeaseHolder()
    one = Candidate("one", server)
    await one.leads.wait()
    one.network.faults.append(fault)
    for _ in range(100):
        await asyncio.sleep(0.1)
        assert one.election.is_leader
    assert one.election.epoch == 1
    one.task.cancel()


@in_fake_time
async def test_a_server_that_becomes_slow_and_stays_so_does_not_end_a_term() -> None:
    server = LeaseHolder()
    one = Candidate("one", server)
    await one.leads.wait()
    one.network.faults += [0.5, 1.0, 1.4, 2.0, 3.0] + [3.5] * 50
    while one.network.faults:
        await asyncio.sleep(0.1)
        assert one.election.is_leader
    assert server.lease is not None
    assert server.lease["spec"]["leaseDurationSeconds"] == LONGEST
    await asyncio.sleep(LONGEST)  # all is well again
    assert server.lease["spec"]["leaseDurationSeconds"] == SHORTEST
    one.task.cancel()


@pytest.mark.parametrize("slow", [2.0, 4.5])
async def test_a_slow_server_does_not_end_term_after_term(slow: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asyncio.to_thread(_shares, slow) == (1, 1.0)
    monkeypatch.setattr(lease, "LONGEST", SHORTEST)
    terms, led = await asyncio.to_thread(_shares, slow)
    assert led < 0.1, f"attack: nobody would lead for long, in {terms} terms"


def _shares(slow: float) -> tuple[int, float]:
    """Of two replicas for five minutes, each ever started anew: how many terms they had, and the share of the time in
    which one led once one did."""

    async def scenario() -> tuple[int, float]:
        server = LeaseHolder()
        replicas = [Candidate(name, server, [slow] * 1000) for name in ("one", "other")]
        terms = 0
        led: list[bool] = []
        for second in range(300):
            for number, replica in enumerate(replicas):
                if replica.task.done():
                    replicas[number] = Candidate(f"{number} since {second}", server, [slow] * 1000)
            await asyncio.sleep(1)
            if led or any(replica.election.is_leader for replica in replicas):
                led.append(any(replica.election.is_leader for replica in replicas))
            assert sum(replica.election.is_leader for replica in replicas) <= 1
            terms = max(terms, *(replica.election.epoch for replica in replicas))
        for replica in replicas:
            replica.task.cancel()
        return terms, sum(led) / max(1, len(led))

    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(scenario())


@in_fake_time
async def test_a_lease_that_becomes_shorter_unheard_is_not_held_for_longer_than_others_see() -> None:
    server = LeaseHolder()
    one = Candidate("one", server)
    await one.leads.wait()
    other = Candidate("other", server)
    one.network.faults += [0.5, 1.0, 1.4, 2.0, 0.01]
    while one.network.faults:
        await asyncio.sleep(0.1)
    one.network.faults += ["lost", 0.01] * 6  # each is written, for less time than the one before; then silence
    while one.network.faults:
        await asyncio.sleep(0.01)
    one.network.down = True
    await other.leads.wait()
    assert not one.election.is_leader
    other.task.cancel()


@pytest.mark.parametrize(("how", "within"), [("taken", 3 * RENEW), ("deleted", HELD + 0.1)])
@in_fake_time
async def test_a_lease_that_somebody_takes_away_is_lost(how: str, within: float) -> None:
    server = LeaseHolder()
    one = Candidate("one", server)
    await one.leads.wait()
    assert server.lease is not None
    taken_at = now()
    if how == "taken":
        server.write({"holderIdentity": "thief"}, server.lease["metadata"]["resourceVersion"])
    else:
        server.lease = None
    assert await one.task is False
    assert now() - taken_at <= within


@in_fake_time
async def test_leadership_ends_by_the_clock_even_if_the_loop_hangs() -> None:
    clock = [0.0]
    stop, leads = asyncio.Event(), asyncio.Event()
    election = Election(KEY, "one", lambda: clock[0])
    task = asyncio.create_task(election.run(Network(LeaseHolder()), stop, lambda _: leads.set()))
    await leads.wait()
    assert election.is_leader
    clock[0] += HELD  # nothing of the loop ran meanwhile
    assert not election.is_leader
    task.cancel()


faults = st.lists(
    st.one_of(st.sampled_from(["lost", "refused"]), st.floats(0.0, 6.0), st.just(FOREVER)), min_size=0, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(st.lists(faults, min_size=2, max_size=3), st.lists(st.floats(0.0, 5.0), min_size=3, max_size=3))
def test_two_never_lead_at_once_whatever_the_network_does(
    scripts: list[list[float | str]], starts: list[float]
) -> None:
    async def scenario() -> None:
        server = LeaseHolder()
        candidates: list[Candidate] = []
        for script, start in zip(scripts, starts, strict=False):
            await asyncio.sleep(start)
            candidates.append(Candidate(f"candidate-{len(candidates)}", server, list(script)))
        for _ in range(600):
            await asyncio.sleep(0.1)
            assert sum(candidate.election.is_leader for candidate in candidates) <= 1
        epochs = [candidate.election.epoch for candidate in candidates if candidate.gained]
        assert len(set(epochs)) == len(epochs), "two terms have one epoch"
        for candidate in candidates:
            candidate.task.cancel()

    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        runner.run(scenario())
