"""The work queue, in fake time."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsession.kube.objects import Key
from agentsession.kube.workqueue import BASE_DELAY, HIGH_IN_A_ROW, MAX_DELAY, Priority, WorkQueue
from tests.kube.fake_time import FakeTimeLoop, in_fake_time, now

pytestmark = pytest.mark.unit

A, B, C = ("red", "a"), ("red", "b"), ("blue", "c")


def queue() -> WorkQueue:
    return WorkQueue("test", uniform=lambda _low, high: high)


async def drain(q: WorkQueue) -> list[Key]:
    """Work off what is ready, instantly."""
    keys = []
    while len(q):
        key = await q.get()
        keys.append(key)
        q.done(key)
    return keys


@in_fake_time
async def test_a_burst_for_one_key_is_one_run() -> None:
    q = queue()
    for _ in range(10):
        q.add(A)
    assert await drain(q) == [A]


@in_fake_time
async def test_a_key_added_while_it_is_worked_on_runs_once_more_and_only_after() -> None:
    q = queue()
    q.add(A)
    assert await q.get() == A
    q.add(A)
    q.add(A)
    assert len(q) == 0, "a second worker could have had it"
    q.done(A)
    assert await drain(q) == [A]


@in_fake_time
async def test_high_priority_runs_first_also_when_it_is_raised_while_waiting() -> None:
    q = queue()
    q.add(A)
    q.add(B)
    q.add(B, Priority.HIGH)
    q.add(C, Priority.HIGH)
    assert await drain(q) == [B, C, A]


@in_fake_time
async def test_the_priority_of_an_addition_meanwhile_is_kept() -> None:
    q = queue()
    q.add(A)
    await q.get()
    q.add(A, Priority.HIGH)
    q.add(A)
    q.add(B)
    q.done(A)
    assert await drain(q) == [A, B]


@in_fake_time
async def test_a_flood_of_high_priority_does_not_starve_the_rest() -> None:
    q = queue()
    q.add(A)
    for number in range(2 * HIGH_IN_A_ROW):
        q.add(("red", f"claim-{number}"), Priority.HIGH)
    assert (await drain(q)).index(A) == HIGH_IN_A_ROW


@in_fake_time
async def test_namespaces_take_turns() -> None:
    q = queue()
    for number in range(100):
        q.add(("busy", str(number)))
    q.add(("quiet", "x"))
    q.add(("quiet", "y"))
    order = await drain(q)
    assert order.index(("quiet", "x")) == 1
    assert order.index(("quiet", "y")) == 3


@in_fake_time
async def test_of_several_delays_the_earliest_counts() -> None:
    q = queue()
    q.add_after(A, 60)
    q.add_after(A, 5)
    q.add_after(A, 90)
    assert await q.get() == A
    assert now() == pytest.approx(5)
    q.done(A)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(q.get(), 1000)


@in_fake_time
async def test_an_addition_ends_a_delay() -> None:
    q = queue()
    q.add_after(A, 60)
    q.add(A)
    q.add_after(A, 30)
    assert await drain(q) == [A]
    await asyncio.sleep(100)
    assert len(q) == 0, "the delay came on top"


@in_fake_time
async def test_a_delay_set_while_working_comes_due_after_done() -> None:
    q = queue()
    q.add(A)
    await q.get()
    q.add_after(A, 5)
    await asyncio.sleep(10)
    assert len(q) == 0, "it came due while it was worked on"
    q.done(A)
    assert await drain(q) == [A]


@in_fake_time
async def test_retries_back_off_to_the_maximum_and_start_anew_after_a_success() -> None:
    q = queue()
    delays = []
    q.add(A)
    for _ in range(30):
        key = await q.get()
        before = now()
        delays.append(q.retry(key))
        q.done(key)
        await asyncio.sleep(0)
        key = await q.get()
        assert now() - before == pytest.approx(delays[-1])
        q.done(key)
        q.add(key)
    assert delays[:3] == [BASE_DELAY, 2 * BASE_DELAY, 4 * BASE_DELAY]
    assert delays[-1] == MAX_DELAY
    q.forget(A)
    assert q.retry(A) == BASE_DELAY


@in_fake_time
async def test_jitter_shortens_by_up_to_a_half() -> None:
    q = WorkQueue("test", uniform=lambda low, _high: low)
    assert q.retry(A) == BASE_DELAY / 2


@in_fake_time
async def test_a_server_that_asks_to_wait_is_waited_for_within_reason() -> None:
    q = queue()
    assert q.retry(A, min_delay=30) == 30
    assert q.retry(B, min_delay=86_400) == MAX_DELAY


@in_fake_time
async def test_a_failed_claim_stays_a_claim() -> None:
    q = queue()
    q.add(A, Priority.HIGH)
    await q.get()
    q.retry(A)
    q.done(A)
    await asyncio.sleep(1)
    q.add(B, Priority.HIGH)
    q.add(C, Priority.NORMAL)
    assert await drain(q) == [A, B, C]


@in_fake_time
async def test_a_delayed_key_may_be_hastened_and_still_comes_once() -> None:
    q = queue()
    q.add_after(B, 60)
    q.add(B)
    assert await drain(q) == [B]
    await asyncio.sleep(100)
    assert await drain(q) == []


@in_fake_time
async def test_a_cancelled_worker_takes_no_key_with_it() -> None:
    q = queue()
    waiting = [asyncio.create_task(q.get()) for _ in range(2)]
    await asyncio.sleep(0)
    q.add(A)
    waiting[0].cancel()
    assert await waiting[1] == A


Step = tuple[float, Key, str]
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.05, 0.3, 4.0]),
        st.tuples(st.sampled_from(["red", "blue", "green"]), st.sampled_from(["a", "b", "c", "d"])),
        st.sampled_from(["add", "add high", "add later"]),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps, st.lists(st.sampled_from(["ok", "fail", "later"]), min_size=1, max_size=20), st.integers(1, 4))
def test_never_two_workers_on_a_key_and_nothing_is_lost(script: list[Step], fates: list[str], workers: int) -> None:
    async def scenario() -> None:
        q = queue()
        busy: set[Key] = set()
        added_at: dict[Key, float] = {}
        begun_at: dict[Key, float] = {}
        runs: Counter[str] = Counter()

        async def worker() -> None:
            while True:
                key = await q.get()
                assert key not in busy, "two workers have it"
                busy.add(key)
                begun_at[key] = now()
                await asyncio.sleep(0.1)
                fate = fates[runs.total() % len(fates)] if runs.total() < 25 else "ok"
                runs[fate] += 1
                if fate == "fail":
                    q.retry(key)
                else:
                    q.forget(key)
                    if fate == "later":
                        q.add_after(key, 2.0)
                busy.discard(key)
                q.done(key)

        async with asyncio.TaskGroup() as tasks:
            pool = [tasks.create_task(worker()) for _ in range(workers)]
            for pause, key, how in script:
                await asyncio.sleep(pause)
                if how == "add later":
                    q.add_after(key, 1.0)
                else:
                    q.add(key, Priority.HIGH if how == "add high" else Priority.NORMAL)
                added_at[key] = now()
            await asyncio.sleep(10_000)
            for task in pool:
                task.cancel()
        assert not busy
        assert all(begun_at[key] >= added_at[key] for key in added_at), "an addition was not followed by a run"
        assert len(q) == 0

    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        runner.run(scenario())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=5))
def test_no_namespace_waits_for_more_than_one_key_of_each_other(sizes: list[int]) -> None:
    async def scenario() -> None:
        q = queue()
        for index, size in enumerate(sizes):
            for number in range(size):
                q.add((str(index), str(number)))
        served: Counter[str] = Counter()
        for namespace, _ in await drain(q):
            served[namespace] += 1
            waiting = [str(index) for index, size in enumerate(sizes) if served[str(index)] < size]
            assert all(served[namespace] - served[other] <= 1 for other in waiting)

    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        runner.run(scenario())
