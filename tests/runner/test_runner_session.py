"""Turns with an agent that does what the real one does only at bad moments."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from claude_agent_sdk import (
    AssistantMessage,
    Message,
    ResultMessage,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)

from agentsession_runner.agent import translate
from agentsession_runner.errors import RefusedError
from agentsession_runner.journal import MAX_EVENTS, Journal
from agentsession_runner.protocol import PromptRequest, State, TurnState
from agentsession_runner.session import AgentDiedError, Answer, Session, Step

pytestmark = pytest.mark.unit


class FakeAgent:
    """Its output is what the test puts there."""

    def __init__(self) -> None:
        self.output: asyncio.Queue[Step | Answer | AgentDiedError] = asyncio.Queue()
        self.asked: list[str] = []
        self.questions: asyncio.Queue[str] = asyncio.Queue()
        self.interrupts = 0
        self.closed = False
        self.deaf = False
        self.early = 0

    async def ask(self, uuid: str, text: str) -> None:
        assert text == "t"
        self.asked.append(uuid)
        self.questions.put_nowait(uuid)

    async def steps(self) -> AsyncIterator[Step | Answer]:
        while True:
            step = await self.output.get()
            if isinstance(step, AgentDiedError):
                raise step
            yield step

    async def interrupt(self) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        self.interrupts += 1
        if self.interrupts > self.early:
            self.answer(reason="interrupted")

    async def close(self) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        self.closed = True

    def answer(self, *uuids: str, text: str = "", reason: str = "", injected: bool = False) -> None:
        self.output.put_nowait(Answer(frozenset(uuids), injected, text, reason))


@asynccontextmanager
async def running(agent: FakeAgent) -> AsyncIterator[Session]:
    session = Session(Journal(), check_disk=lambda: None)

    async def connect() -> FakeAgent:
        return agent

    life = asyncio.create_task(session.run("conversation", connect))
    session.bind("session")
    await until(session, lambda state: state.phase == "Ready")
    yield session
    life.cancel()
    await asyncio.wait([life])


async def until(session: Session, condition: Callable[[State], bool]) -> State:
    async with asyncio.timeout(5):
        while not condition(session.journal.state):
            await session.journal.state_after(session.journal.state.revision, 5)
    return session.journal.state


def turns(session: Session) -> list[tuple[str, str]]:
    return [(turn.uuid, turn.phase) for turn in session.journal.state.turns]


async def test_an_injected_turn_is_not_taken_for_ours() -> None:
    async with running(agent := FakeAgent()) as session:
        session.prompt(PromptRequest(uuid="1", text="t"))
        await agent.questions.get()
        agent.answer(text="A cron fired.", injected=True)
        agent.answer("0", text="A prompt that is not ours.")
        agent.answer(text="Nobody's.")
        agent.answer("0", "1", text="Ours.", injected=True)  # taken into a turn that was injected
        state = await until(session, lambda state: state.turns[0].phase != "Running")
        agent.answer(text="After the end.", injected=True)
        assert [turn.text for turn in state.turns] == ["Ours."]


async def test_an_interrupted_turn_may_come_without_its_uuid() -> None:
    async with running(FakeAgent()) as session:
        session.prompt(PromptRequest(uuid="1", text="t"))
        await session.interrupt()
        state = await until(session, lambda state: state.turns[0].phase != "Running")
        assert state.turns == [TurnState(uuid="1", phase="Failed", reason="interrupted")]


async def test_an_interrupt_ends_only_the_running_turn() -> None:
    async with running(agent := FakeAgent()) as session:
        for uuid in ("1", "2"):
            session.prompt(PromptRequest(uuid=uuid, text="t"))
        await session.interrupt()
        assert [await agent.questions.get() for _ in range(2)] == ["1", "2"]
        assert (turns(session), agent.interrupts) == ([("1", "Failed"), ("2", "Running")], 1)


async def test_an_interrupt_that_comes_too_early_is_repeated() -> None:
    async with running(agent := FakeAgent()) as session:
        agent.early = 2
        session.prompt(PromptRequest(uuid="1", text="t"))
        await session.interrupt()
        assert (turns(session), agent.interrupts) == ([("1", "Failed")], 3)


async def test_an_agent_that_does_not_take_the_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentsession_runner.session.INTERRUPT_TIMEOUT", 0.01)
    async with running(agent := FakeAgent()) as session:
        agent.deaf = True
        session.prompt(PromptRequest(uuid="1", text="t"))
        with pytest.raises(RefusedError, match="the turn did not end") as refused:
            await session.interrupt()
        assert refused.value.status == 504


async def test_a_drain_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("INTERRUPT_TIMEOUT", "CLOSE_TIMEOUT"):
        monkeypatch.setattr(f"agentsession_runner.session.{bound}", 0.01)
    async with running(agent := FakeAgent()) as session:
        agent.deaf = True
        for uuid in ("1", "2"):
            session.prompt(PromptRequest(uuid=uuid, text="t"))
        await agent.questions.get()
        session.request_end()
        async with asyncio.timeout(5):
            await session.drain()
        assert turns(session) == [("1", "Interrupted")], "a prompt that was never asked is still a turn"
        assert session.journal.state.phase == "Draining"


@pytest.mark.parametrize("prompts", [["1"], ["1", "2"]])
async def test_a_drain_waits_for_the_answer_and_asks_nothing_more(prompts: list[str]) -> None:
    async with running(agent := FakeAgent()) as session:
        for uuid in prompts:
            session.prompt(PromptRequest(uuid=uuid, text="t"))
        await agent.questions.get()
        session.request_end()
        await session.drain()
        assert session.journal.state.turns == [TurnState(uuid="1", phase="Interrupted", reason="interrupted")]
        assert (agent.asked, agent.closed, session.journal.state.phase) == (["1"], True, "Draining")


async def test_a_prompt_that_was_not_yet_asked_is_not_asked_while_draining() -> None:
    async with running(agent := FakeAgent()) as session:
        session.prompt(PromptRequest(uuid="1", text="t"))
        session.request_end()
        await session.drain()
        assert (turns(session), agent.asked, agent.interrupts) == ([], [], 0)


async def test_a_drain_that_comes_with_the_agent_stands() -> None:
    session, agent = Session(Journal(), check_disk=lambda: None), FakeAgent()

    async def connect() -> FakeAgent:
        session.request_end()
        return agent

    agent.output.put_nowait(AgentDiedError("it was closed"))
    await session.run("conversation", connect)
    assert session.journal.state.phase == "Draining"


async def test_a_dead_agent_fails_what_ran_and_what_waited() -> None:
    async with running(agent := FakeAgent()) as session:
        for uuid in ("1", "2"):
            session.prompt(PromptRequest(uuid=uuid, text="t"))
        agent.output.put_nowait(AgentDiedError("exit code\n-9"))
        state = await until(session, lambda state: state.phase == "Failed")
        assert state.message == "exit code -9"
        assert [(turn.phase, turn.reason) for turn in state.turns] == [("Failed", "exit code -9")] * 2


async def test_a_drain_before_the_agent_is_there() -> None:
    session = Session(Journal(), check_disk=lambda: None)
    session.request_end()
    await session.drain()
    assert session.journal.state.phase == "Draining"


async def test_an_answer_stands_until_the_next_prompt() -> None:
    async with running(agent := FakeAgent()) as session:
        for uuid in ("1", "2"):
            session.prompt(PromptRequest(uuid=uuid, text="t"))
            await agent.questions.get()
            agent.answer(uuid, text=f"Answer {uuid}.")
            state = await until(session, lambda state: state.turns[-1].phase == "Completed")
            assert state.turns[-1].text == f"Answer {uuid}."
        assert [(turn.phase, turn.text) for turn in state.turns] == [("Completed", ""), ("Completed", "Answer 2.")]


async def test_events_are_bounded_and_end_with_the_journal() -> None:
    journal = Journal()
    for n in range(MAX_EVENTS + 10):
        journal.event("text", "x" * 5000 if n == MAX_EVENTS + 9 else str(n), None)
    journal.close()
    told = [event async for event in journal.events_after(3)]
    assert [event.id for event in told] == list(range(11, MAX_EVENTS + 11))
    assert len(told[-1].text) == 4096


def result(**changes: Any) -> ResultMessage:
    fields: dict[str, Any] = {
        "subtype": "success",
        "duration_ms": 1,
        "duration_api_ms": 1,
        "is_error": False,
        "num_turns": 1,
    }
    return ResultMessage(**{**fields, "session_id": "s", "user_message_uuids": ["1"], **changes})


ONE = frozenset({"1"})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (result(result="Done."), [Answer(ONE, False, "Done.", "")]),
        (result(user_message_uuids=None, user_message_uuid="1"), [Answer(ONE, False, "", "")]),
        (result(user_message_uuids=None), [Answer(frozenset(), False, "", "")]),
        (result(origin={"kind": "human"}), [Answer(ONE, False, "", "")]),
        (result(origin={"kind": "task-notification"}), [Answer(ONE, True, "", "")]),
        (result(result="x", structured_output={"n": 1}), [Answer(ONE, False, '{"n": 1}', "")]),
        (result(is_error=True, result="API Error: 429 stop"), [Answer(ONE, False, "", "API Error: 429 stop")]),
        (result(is_error=True, subtype="error_x", errors=["a", "b"]), [Answer(ONE, False, "", "a; b")]),
        (result(is_error=True, subtype="error_x"), [Answer(ONE, False, "", "error_x")]),
        (
            result(is_error=True, errors=["[diagnostic]"], terminal_reason="aborted_tools"),
            [Answer(ONE, False, "", "interrupted")],
        ),
        (
            AssistantMessage([ThinkingBlock("hm", ""), TextBlock("Hi"), ToolUseBlock("id", "Bash", {"a": "é"})], "m"),
            [Step("text", "Hi"), Step("tool", 'Bash {"a": "é"}')],
        ),
        (AssistantMessage([TextBlock("A subagent's.")], "m", parent_tool_use_id="id"), []),
        (
            SystemMessage("api_retry", {"error_status": 529}),
            [Step("notice", "model request failed (529), trying again")],
        ),
        (SystemMessage("init", {}), []),
    ],
)
def test_what_a_message_means(message: Message, expected: list[Step | Answer]) -> None:
    assert list(translate(message)) == expected
