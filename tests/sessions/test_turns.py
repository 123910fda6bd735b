"""Which prompt is next, and what is kept of the answers."""

import uuid
from typing import Any

import pytest

from agentsession.api.session import AgentSessionStatus
from agentsession.sessions.turns import continued_uuid, progress, started, turn_uuid

from .build import NOW, UID, known, runner, said, session

pytestmark = pytest.mark.unit

TALK: dict[str, Any] = {
    "lifecycle": "LongRunning",
    "followUps": [{"id": "a", "prompt": "A"}, {"id": "b", "prompt": "B"}],
}


def test_the_id_of_a_turn_is_always_the_same_and_nobody_elses() -> None:
    assert turn_uuid(UID, "a") == turn_uuid(UID, "a")
    assert len({turn_uuid(UID, "a"), turn_uuid(UID, "b"), turn_uuid(UID.replace("1", "9"), "a")}) == 3


def test_nothing_is_next_while_a_turn_runs() -> None:
    talk = progress(
        session(AgentSessionStatus(turns=[known()]), **TALK), "hello", runner("Ready", said(phase="Running")), NOW
    )
    assert talk.next is None
    assert talk.running
    assert not talk.answered


def test_a_delivered_prompt_is_a_turn_at_once() -> None:
    talk = progress(session(), "hello", runner(), NOW)
    assert [(turn.id, turn.state) for turn in started(talk, NOW)] == [("prompt", "Running")]


def test_a_follow_up_does_not_pass_a_turn_whose_fate_is_unknown() -> None:
    before = AgentSessionStatus(turns=[known()])
    talk = progress(session(before, **TALK), None, runner(), NOW)
    assert talk.next is None
    assert [turn.id for turn in talk.turns] == ["prompt"]


def test_what_has_ended_stays_as_it_was() -> None:
    before = AgentSessionStatus(turns=[known(state="Completed")])
    talk = progress(session(before), None, runner("Ready", said(text="another")), NOW)
    assert talk.turns == before.turns
    assert talk.answered


def test_a_running_turn_says_nothing_yet_whatever_its_runner_claims() -> None:
    talk = progress(session(), "hello", runner("Ready", said(phase="Running", text="x", reason="y")), NOW)
    assert (talk.turns[0].text, talk.turns[0].reason, talk.turns[0].finished) == ("", "", None)


@pytest.mark.parametrize(("char", "size"), [("x", 1), ("é", 2), ("😀", 4)])
def test_answers_are_cut_to_bytes_at_whole_characters(char: str, size: int) -> None:
    talk = progress(session(), None, runner("Ready", said(text=char * 16384)), NOW)
    assert talk.result is not None
    assert talk.result.text == char * (16384 // size)
    assert talk.result.truncated == (size > 1)
    assert talk.turns[0].text == char * (2048 // size)


def test_answered_turns_stay_when_a_follow_up_is_put_before_them() -> None:
    before = AgentSessionStatus(turns=[known(state="Completed"), known("b", "Failed")])
    talk = progress(session(before, **TALK), None, runner(), NOW)
    assert [turn.id for turn in talk.turns] == ["prompt", "b"]
    assert talk.next is not None
    assert talk.next.id == "a"
    assert [turn.id for turn in started(talk, NOW)] == ["prompt", "b", "a"]


def test_a_follow_up_put_before_a_running_one_waits_for_it() -> None:
    before = AgentSessionStatus(turns=[known(state="Completed"), known("b")])
    talk = progress(session(before, **TALK), None, runner("Ready", said("b", "Running")), NOW)
    assert (talk.next, [turn.state for turn in talk.turns]) == (None, ["Completed", "Running"])


def test_the_id_of_a_continuation_follows_from_the_one_before() -> None:
    first = continued_uuid(turn_uuid(UID, "a"))
    assert first == str(uuid.uuid5(uuid.UUID(turn_uuid(UID, "a")), "resume"))
    assert len({turn_uuid(UID, "a"), first, continued_uuid(first)}) == 3


def test_an_interrupted_turn_is_no_answer() -> None:
    talk = progress(session(AgentSessionStatus(turns=[known(state="Interrupted")])), None, None, NOW)
    assert (talk.answered, talk.open, talk.running) == (False, True, False)
    (turn,) = started(talk, NOW)
    assert (turn.state, turn.uuid) == ("Running", continued_uuid(known().uuid))


def test_what_the_runner_cut_is_cut() -> None:
    talk = progress(session(), None, runner("Ready", said(text="short", truncated=True)), NOW)
    assert talk.result is not None
    assert talk.result.truncated


def test_turns_that_were_never_asked_are_not_believed_before_those_that_were() -> None:
    talk = progress(session(**TALK), "hello", runner("Ready", said("b")), NOW)
    assert talk.turns == []
    assert talk.next is not None
    assert talk.next.id == "prompt"
