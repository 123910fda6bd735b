"""The event recorder, in fake time."""

import asyncio

import pytest

from agentsession.kube import events
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError
from agentsession.kube.events import BURST, MAX_NOTE, QUEUE_SIZE, REPEAT_AFTER, EventRecorder, build_event
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import EVENTS, Resource
from tests.kube.fake_time import in_fake_time
from tests.kube.objects import pod

pytestmark = pytest.mark.unit


class Written(ApiClient):
    """Keeps what it is given to create."""

    def __init__(self) -> None:
        self.events: list[KubeObject] = []
        self.refuse = False

    async def create(self, resource: Resource, body: KubeObject) -> KubeObject:
        assert resource is EVENTS
        if self.refuse:
            raise ForbiddenError(403, "Forbidden", "the namespace is terminating")
        self.events.append(body)
        return body

    def notes(self) -> list[str]:
        return [event["note"] for event in self.events]


async def written() -> None:
    """Let the recorder's task work off its queue."""
    await asyncio.sleep(0.001)


@in_fake_time
async def test_the_same_is_told_once_in_a_while() -> None:
    api = Written()
    recorder = EventRecorder(api)
    task = asyncio.create_task(recorder.run())
    for _ in range(3):
        recorder.record(pod("a"), "Normal", "Started", "It runs.")
    recorder.record(pod("b"), "Normal", "Started", "It runs.")
    recorder.record(pod("a"), "Warning", "Failed", "It does not run.")
    await written()
    assert [(event["regarding"]["name"], event["reason"]) for event in api.events] == [
        ("a", "Started"),
        ("b", "Started"),
        ("a", "Failed"),
    ]
    await asyncio.sleep(REPEAT_AFTER)
    recorder.record(pod("a"), "Normal", "Started", "It runs.")
    await written()
    assert len(api.events) == 4
    task.cancel()


@in_fake_time
async def test_a_namespace_that_tells_too_much_silences_itself_only() -> None:
    api = Written()
    recorder = EventRecorder(api)
    task = asyncio.create_task(recorder.run())
    for number in range(BURST + 5):
        recorder.record(pod("a"), "Normal", "Noise", f"number {number}")
    recorder.record(pod("b", namespace="quiet"), "Normal", "Started", "It runs.")
    await written()
    assert len(api.events) == BURST + 1
    assert api.notes()[-1] == "It runs."
    await asyncio.sleep(3)
    for number in range(10):
        recorder.record(pod("a"), "Normal", "Noise", f"later {number}")
    await written()
    assert api.notes()[-3:] == ["later 0", "later 1", "later 2"]
    task.cancel()


@in_fake_time
async def test_a_full_queue_drops_and_does_not_block() -> None:
    api = Written()
    recorder = EventRecorder(api)
    for number in range(QUEUE_SIZE + 10):
        recorder.record(pod("a", namespace=f"ns-{number}"), "Normal", "Started", f"number {number}")
    task = asyncio.create_task(recorder.run())
    await written()
    assert len(api.events) == QUEUE_SIZE
    task.cancel()


@in_fake_time
async def test_a_refused_event_is_dropped_and_the_next_is_written() -> None:
    api = Written()
    recorder = EventRecorder(api)
    task = asyncio.create_task(recorder.run())
    api.refuse = True
    recorder.record(pod("a"), "Normal", "Started", "first")
    await written()
    api.refuse = False
    recorder.record(pod("a"), "Normal", "Started", "second")
    await written()
    assert api.notes() == ["second"]
    task.cancel()


@in_fake_time
async def test_what_is_remembered_of_namespaces_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 5)
    recorder = EventRecorder(Written())
    for number in range(20):
        recorder.record(pod("a", namespace=f"ns-{number}"), "Normal", "Started", f"number {number}")
        await asyncio.sleep(10)
    assert len(recorder._spent_until) <= 6


def test_a_note_is_one_line_of_bounded_length() -> None:
    event = build_event(pod("a"), "Warning", "Failed", "first\nsecond\r\n\x0b third" + "x" * 5000, "host")
    assert event["note"].startswith("first second thirdx")
    assert len(event["note"]) == MAX_NOTE


def test_a_long_name_still_makes_a_valid_one() -> None:
    event = build_event(pod("a" * 199 + "." + "b" * 53), "Normal", "Started", "It runs.", "host")
    name = event["metadata"]["name"]
    assert len(name) <= 253
    assert ".." not in name
