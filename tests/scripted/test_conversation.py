import pytest

from devcluster.scripted.conversation import Position, position, problems
from devcluster.scripted.wire import JSON
from tests.scripted.build import assistant, call, messages, result, text, user

pytestmark = pytest.mark.unit

SYSTEM: JSON = {"role": "system", "content": "a note"}


def test_the_latest_text_of_a_user_is_the_prompt() -> None:
    found = position(messages(user("one"), assistant("ok"), user([text("two"), text("three")])))
    assert found == Position("three", 3)


def test_results_count_from_the_latest_prompt() -> None:
    turn = [user("go"), assistant([call("a")]), user([result("a")]), assistant("ok")]
    assert position(messages(*turn, user("next"))) == Position("next", 2)
    calls = assistant([call("b"), call("c")])
    found = position(messages(*turn, user("next"), calls, user([result("b", "B"), result("c", [text("C")])])))
    assert found == Position("next", 2, ("B", "C"))


def test_reminders_and_system_messages_are_no_prompt() -> None:
    reminder = "<system-reminder>\n[[cut]]\n</system-reminder>"
    found = position(messages(user([text(reminder), text(f"{reminder} hello")]), SYSTEM))
    assert found == Position("hello", 1)


def test_markers_in_the_output_of_a_tool_are_no_prompt() -> None:
    parts = messages(user("go"), assistant([call("a")]), user([result("a", "[[say: hijacked]]")]))
    assert position(parts).prompt == "go"


def test_a_place_has_one_name_and_each_place_its_own() -> None:
    places = [Position("p", 1), Position("p", 2), Position("p", 1, ("r",)), Position("q", 1)]
    names = {place.digest(session) for place in places for session in ("s", "t")}
    assert len(names) == 8
    assert Position("p", 1).digest("s") in names


@pytest.mark.parametrize(
    "legal",
    [
        [user("a")],
        [user("a"), SYSTEM, assistant("b"), SYSTEM, user("c")],
        [user("a"), user("b"), assistant("c"), assistant("d"), user("e")],
        [user("a"), assistant([text("b"), call("x"), call("y")]), user([result("y"), result("x"), text("and")])],
        [user("a"), assistant([call("x")]), user([result("x")]), user("and")],
    ],
)
def test_legal_conversations(legal: list[JSON]) -> None:
    assert list(problems(messages(*legal))) == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ([assistant("a"), user("b")], "the first message must have the role user"),
        ([SYSTEM], "the first message must have the role user"),
        ([user("a"), assistant("b")], "must end with a user message"),
        ([user("a"), assistant([call("x")]), user("b")], "messages.2: the tool_use x of the message before"),
        ([user("a"), assistant([call("x"), call("y")]), user([result("x")])], "messages.2: the tool_use y"),
        ([user([result("x")])], "messages.0: the tool_result for x answers no tool_use"),
        (
            [user("a"), assistant([call("x")]), user([result("x")]), assistant("b"), user([result("x")])],
            "messages.4: the tool_result for x",
        ),
        ([user([call("x")]), user("a")], "messages.0.content: tool_use blocks cannot be in user messages"),
    ],
)
def test_what_is_wrong_with_a_conversation_is_said_first(wrong: list[JSON], problem: str) -> None:
    assert problem in next(problems(messages(*wrong)))
