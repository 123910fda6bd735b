"""What was served and not heard: by which processes, and until when all is known."""

import asyncio
from datetime import timedelta

import pytest

from .plane import Plane

pytestmark = pytest.mark.unit


async def test_without_any_process_nothing_is_known(plane: Plane) -> None:
    assert not await plane.meters.pull()
    plane.unresolvable = True
    assert not await plane.meters.pull()
    assert plane.meters.lost({"a"}, []) == frozenset()


@pytest.mark.parametrize(
    ("begun", "ended", "doubtful"),
    [(-9, None, True), (-9, -1, False), (-9, 1, True), (1, 2, True), (1, None, True), (5, None, False)],
)
async def test_whoever_was_busy_when_a_process_vanished_may_have_been_served_by_it(
    plane: Plane, begun: int, ended: int | None, *, doubtful: bool
) -> None:
    await plane.peer("a")
    gone = await plane.peer("b")
    await plane.meters.pull()
    plane.now = plane.begin + timedelta(seconds=2)
    plane.peers.remove(gone)
    await plane.meters.pull()
    plane.now = plane.begin + timedelta(seconds=4)
    await plane.meters.pull()
    assert plane.meters.lost(frozenset(), [plane.busy(begun, ended)]) == (frozenset({"b"}) if doubtful else frozenset())


async def test_a_process_that_ended_well_has_told_all(plane: Plane) -> None:
    """A rollout: what both served is in their last reports. Without the last word both are in doubt."""
    await plane.peer("a")
    well, badly = await plane.peer("b"), await plane.peer("c")
    await plane.meters.pull()
    well.final = True
    await plane.meters.pull()
    for told, peer in enumerate((well, badly)):
        plane.peers.remove(peer)
        plane.now += timedelta(seconds=2)
        await plane.meters.pull()
        assert plane.gone == told, "who has told all is not announced, the other one is"
    assert plane.meters.lost({"a", "b", "c"}, [(plane.begin, None)]) == {"c"}
    assert plane.meters.lost(frozenset(), [(plane.begin, None)]) == {"c"}


@pytest.mark.parametrize(
    ("begun", "ended", "doubtful"),
    [(-9, None, True), (-9, -2, True), (-90, -60, True), (-3, None, False), (5, None, False)],
)
async def test_a_new_operator_doubts_what_was_served_before_the_youngest_process(
    plane: Plane, begun: int, ended: int | None, *, doubtful: bool
) -> None:
    await plane.peer("a")
    youngest = await plane.peer("b")
    youngest.started = plane.begin - timedelta(seconds=5)
    await plane.meters.pull()
    assert bool(plane.meters.lost(frozenset(), [plane.busy(begun, ended)])) == doubtful


@pytest.mark.parametrize(
    ("begun", "ended", "doubtful"), [(1, None, True), (1, 2, True), (-9, -8, True), (-90, -60, True)]
)
@pytest.mark.parametrize("silent", [0, 1])
async def test_whoever_may_have_been_served_by_a_process_that_was_never_heard_is_in_doubt(
    plane: Plane, begun: int, ended: int | None, silent: int, *, doubtful: bool
) -> None:
    """Of two processes one never answers; or none is found."""
    for name in ("a", "b")[: 2 * silent]:
        (await plane.peer(name)).status = 200 if name == "a" else 503
    await plane.meters.settle()
    assert bool(plane.meters.lost(frozenset(), [plane.busy(begun, ended)])) == doubtful


async def test_who_is_busy_while_no_process_is_found_is_in_doubt_though_all_that_were_known_ended_well(
    plane: Plane,
) -> None:
    (await plane.peer("a")).final = True
    await plane.meters.pull()
    plane.peers.clear()
    await plane.meters.settle()
    assert plane.meters.lost({"a"}, [(plane.begin, None)]) == {"unseen"}
    assert plane.meters.lost({"a"}, []) == frozenset()


@pytest.mark.parametrize(
    ("begun", "ended", "doubtful"), [(-90, -60, True), (10, 20, True), (10, None, True), (55, None, False)]
)
async def test_what_was_served_while_no_process_was_heard_is_in_doubt_if_one_is_younger(
    plane: Plane, begun: int, ended: int | None, *, doubtful: bool
) -> None:
    await plane.meters.pull()
    (await plane.peer("a")).started = plane.begin + timedelta(seconds=50)
    plane.now = plane.begin + timedelta(seconds=60)
    await plane.meters.pull()
    assert bool(plane.meters.lost(frozenset(), [plane.busy(begun, ended)])) == doubtful


async def test_until_when_all_was_heard_is_known_while_it_is_known_which_processes_there_are(plane: Plane) -> None:
    silent = await plane.peer("a")
    assert plane.meters.until is None
    await plane.meters.pull()
    assert plane.meters.until == plane.begin
    plane.now += timedelta(seconds=2)
    silent.gate.clear()
    pull = asyncio.create_task(plane.meters.pull())
    while len(silent.asked) < 2:
        await asyncio.sleep(0)
    assert plane.meters.until == plane.begin, "what is asked is not heard yet"
    silent.gate.set()
    await pull
    assert plane.meters.until == plane.now
    silent.status = 503
    await plane.meters.pull()
    assert plane.meters.until is None
    await plane.meters.settle()
    assert plane.meters.until == plane.now
