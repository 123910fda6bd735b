"""Following runners: every change is told, a silent one is asked again, and no runner can make the operator spin."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from agentsession.runners import listeners as listeners_module
from agentsession.runners.client import RunnerClient, RunnerError, Target
from agentsession.runners.listeners import BURST, CHANGE_SECONDS, MOST_PAUSE, Listeners
from agentsession_runner.protocol import State
from tests.kube.fake_time import in_fake_time

pytestmark = pytest.mark.unit

KEY = ("n", "s")
TARGET = Target("p-1", "10.0.0.9", "s-1")
OTHER = Target("p-2", "10.0.0.8", "s-1")


class Runner(RunnerClient):
    """A runner in memory: answers polls as the protocol says."""

    def __init__(self) -> None:
        self.polls: list[tuple[Target, int]] = []
        self.failures = 0
        self._state = State(revision=0, phase="Starting")
        self._changed = asyncio.Event()

    def become(self, revision: int, phase: str) -> State:
        self._state = State.model_validate({"revision": revision, "phase": phase})
        self._changed.set()
        self._changed = asyncio.Event()
        return self._state

    async def state(self, target: Target, after: int) -> State:
        self.polls.append((target, after))
        if self.failures:
            self.failures -= 1
            raise RunnerError("no answer")
        while self._state.revision <= after:
            await self._changed.wait()
        return self._state


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def told() -> "asyncio.Queue[tuple[str, str]]":
    """The keys that were brought back into the queue."""
    return asyncio.Queue()


@pytest.fixture
async def listeners(
    runner: Runner, told: "asyncio.Queue[tuple[str, str]]", monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Listeners]:
    monkeypatch.setattr(listeners_module, "LEAST_PAUSE", 0.001)
    monkeypatch.setattr(listeners_module, "FIRST_RETRY", 0.001)
    made = Listeners(runner, told.put_nowait)
    yield made
    await made.close()


async def test_every_change_is_told(
    listeners: Listeners, runner: Runner, told: "asyncio.Queue[tuple[str, str]]"
) -> None:
    listeners.listen(KEY, TARGET)
    for revision, phase in ((1, "Ready"), (2, "Draining")):
        assert await told.get() == KEY
        runner.become(revision, phase)
    await told.get()
    heard = listeners.state(KEY, "p-1")
    assert heard is not None
    assert heard.phase == "Draining"
    assert [after for _, after in runner.polls][:3] == [-1, 0, 1]


async def test_another_pod_has_said_nothing_yet(listeners: Listeners, told: "asyncio.Queue[tuple[str, str]]") -> None:
    listeners.listen(KEY, TARGET)
    await told.get()
    assert listeners.state(KEY, "p-2") is None
    assert listeners.state(("n", "other"), "p-1") is None


async def test_to_listen_again_is_nothing_and_to_another_pod_is_anew(
    listeners: Listeners, runner: Runner, told: "asyncio.Queue[tuple[str, str]]"
) -> None:
    listeners.listen(KEY, TARGET)
    await told.get()
    listeners.listen(KEY, TARGET)
    assert listeners.state(KEY, "p-1") is not None
    listeners.listen(KEY, Target("p-2", "10.0.0.10", "s-1"))
    assert listeners.state(KEY, "p-1") is None
    await told.get()
    assert runner.polls[-1] == (Target("p-2", "10.0.0.10", "s-1"), -1)


async def test_a_failure_is_tried_again(
    listeners: Listeners, runner: Runner, told: "asyncio.Queue[tuple[str, str]]"
) -> None:
    runner.failures = 3
    listeners.listen(KEY, TARGET)
    await told.get()
    assert len(runner.polls) == 4


@pytest.mark.parametrize("listens", [True, False])
async def test_what_a_caller_has_heard_is_not_told_again(
    listeners: Listeners, runner: Runner, told: "asyncio.Queue[tuple[str, str]]", listens: bool
) -> None:
    """Whoever binds a runner goes on with its answer."""
    if listens:
        listeners.listen(KEY, TARGET)
        await told.get()
    listeners.hear(KEY, TARGET, runner.become(7, "Draining"))
    assert listeners.state(KEY, "p-1") == State(revision=7, phase="Draining")
    listeners.listen(KEY, TARGET)
    while runner.polls[-1:] != [(TARGET, 7)]:
        await asyncio.sleep(0)
    assert told.empty()
    runner.become(8, "Failed")
    await told.get()


async def test_what_a_caller_has_not_looked_at_is_told_once(
    listeners: Listeners, runner: Runner, told: "asyncio.Queue[tuple[str, str]]"
) -> None:
    listeners.listen(KEY, TARGET)
    await told.get()
    listeners.heard(KEY, TARGET, runner.become(7, "Draining"))
    assert told.get_nowait() == KEY
    while runner.polls[-1:] != [(TARGET, 7)]:
        await asyncio.sleep(0)
    assert told.empty()


async def test_an_older_word_does_not_replace_a_newer_one(
    listeners: Listeners, runner: Runner, told: "asyncio.Queue[tuple[str, str]]"
) -> None:
    listeners.listen(KEY, TARGET)
    runner.become(5, "Draining")
    await told.get()
    listeners.hear(KEY, TARGET, State(revision=4, phase="Ready"))
    heard = listeners.state(KEY, "p-1")
    assert heard is not None
    assert heard.revision in (4, 5)
    listeners.hear(KEY, TARGET, State(revision=3, phase="Ready"))
    assert listeners.state(KEY, "p-1") == heard


async def test_another_runner_takes_the_place_of_the_one_before(
    listeners: Listeners, told: "asyncio.Queue[tuple[str, str]]"
) -> None:
    listeners.listen(KEY, TARGET)
    await told.get()
    listeners.hear(KEY, OTHER, State(revision=0, phase="Ready"))
    assert listeners.state(KEY, "p-1") is None
    assert listeners.state(KEY, "p-2") == State(revision=0, phase="Ready")


async def test_a_runner_that_changes_all_the_time_is_asked_seldom(
    listeners: Listeners, runner: Runner, told: "asyncio.Queue[tuple[str, str]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners_module, "BURST", 5)
    monkeypatch.setattr(listeners_module, "CHANGE_SECONDS", 3600.0)
    listeners.listen(KEY, TARGET)
    for revision in range(1, 7):
        await told.get()
        runner.become(revision, "Draining")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(told.get(), 0.1)


HOUR = 3600
LIES: dict[str, Callable[[int], int]] = {
    "the same for ever": lambda _: 7,
    "growing": lambda n: n,
    "jumping": lambda n: (n * 2**61) % 2**63,
    "backwards": lambda n: 2**60 - n,
    "to and fro": lambda n: n % 2,
}


async def heard(lie: Callable[[int], int], seconds: float) -> tuple[int, int]:
    """How often it is asked, and how often its session is reconciled."""
    polls, told = 0, 0

    class Liar(RunnerClient):
        def __init__(self) -> None: ...

        async def state(self, *_: object) -> State:
            nonlocal polls
            polls += 1
            return State(revision=lie(polls), phase="Draining")

    def changed(_: tuple[str, str]) -> None:
        nonlocal told
        told += 1

    listeners = Listeners(Liar(), changed)
    listeners.listen(KEY, TARGET)
    await asyncio.sleep(seconds)
    await listeners.close()
    return polls, told


@pytest.mark.parametrize("lie", LIES)
@in_fake_time
async def test_a_runner_that_never_waits_is_bounded_in_polls_and_reconciles(lie: str) -> None:
    polls, told = await heard(LIES[lie], HOUR)
    most = BURST + HOUR / CHANGE_SECONDS + 1
    assert told <= most
    assert polls <= most
    if lie == "the same for ever":
        assert told == 1
        assert polls < HOUR / MOST_PAUSE + 10


@in_fake_time
async def test_without_that_bound_it_keeps_the_operator_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners_module, "CHANGE_SECONDS", 0.0)
    _, told = await heard(LIES["growing"], 60)
    assert told > 10 * (BURST + 60 / CHANGE_SECONDS)


async def test_refusals_are_counted_until_one_call_is_accepted(listeners: Listeners) -> None:
    listeners.refused(KEY, TARGET)
    listeners.listen(KEY, TARGET)
    listeners.refused(KEY, TARGET)
    assert (listeners.refusals(KEY, "p-1"), listeners.refusals(KEY, "p-2")) == (2, 0)
    listeners.accepted(KEY, TARGET)
    assert listeners.refusals(KEY, "p-1") == 0
    listeners.refused(KEY, OTHER)
    assert (listeners.refusals(KEY, "p-1"), listeners.refusals(KEY, "p-2")) == (0, 1)


async def test_closing_leaves_nobody_listening(listeners: Listeners, told: "asyncio.Queue[tuple[str, str]]") -> None:
    listeners.listen(KEY, TARGET)
    await told.get()
    await listeners.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("listen")]
    assert listeners.state(KEY, "p-1") is None
