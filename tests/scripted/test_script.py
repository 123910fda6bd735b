import pytest

from devcluster.scripted.markers import ScriptError, ToolCall
from devcluster.scripted.script import Step, Tokens, current, fault_at, parse

pytestmark = pytest.mark.unit


def test_text_without_markers_scripts_nothing() -> None:
    assert parse("if [[ -f x ]]; then echo [[unknown: y]]; fi") == ()


def test_a_tool_call_ends_a_step_and_what_stands_before_it_belongs_to_it() -> None:
    steps = parse('do [[say: Let me look.]] then [[tool: Bash {"command": "ls"}]] and [[say: Done.]] [[usage: out=3]]')
    assert steps == (
        Step(texts=("Let me look.",), tools=(ToolCall("Bash", {"command": "ls"}),)),
        Step(texts=("Done.",), tokens=Tokens.model_validate({"out": 3})),
    )


def test_tool_input_may_contain_what_closes_a_marker() -> None:
    (step,) = parse('[[tool: Bash {"command": "[[ -f x ]] && echo [[1]]"}]]')
    assert step.tools[0].input == {"command": "[[ -f x ]] && echo [[1]]"}


def test_a_tool_without_input() -> None:
    assert parse("[[tool: mcp__git__status]]")[0].tools == (ToolCall("mcp__git__status", {}),)


def test_also_adds_a_call_to_the_same_answer() -> None:
    steps = parse('[[tool: A]] [[also: B {"x": 1}]] [[also: C]] [[say: end]]')
    assert [[call.name for call in step.tools] for step in steps] == [["A", "B", "C"], []]


def test_repeat_unrolls_with_the_number_of_the_round() -> None:
    steps = parse('[[repeat: 2 [[tool: Bash {"command": "echo {n}"}]] [[tool: Read {"path": "x"}]]]] [[say: end]]')
    assert [call.input for step in steps for call in step.tools] == [
        {"command": "echo 1"},
        {"path": "x"},
        {"command": "echo 2"},
        {"path": "x"},
    ]
    assert steps[-1].texts == ("end",)


def test_repeats_nest() -> None:
    assert len(parse("[[repeat: 3 [[tool: A]] [[repeat: 2 [[tool: B]]]]]]")) == 9


def test_stream_is_one_delta_and_one_token_per_event() -> None:
    (step,) = parse("[[stream: events=5 interval=0.25]]")
    assert (len(step.texts[0].split()), len(step.texts[0]) // 4, step.delay) == (5, 5, 0.25)


def test_everything_about_a_step_in_one() -> None:
    (step,) = parse(
        "[[usage: in=1 cache_read=2 cache_write=3 cache_write_1h=4]][[slow: 0.5]][[stop: refusal]][[headers: a=b]]"
    )
    assert (step.tokens.input, step.tokens.output, step.tokens.cache_read) == (1, None, 2)
    assert (step.tokens.cache_write, step.tokens.cache_write_1h) == (3, 4)
    assert (step.delay, step.stop, step.headers) == (0.5, "refusal", (("a", "b"),))


def test_errors_take_their_type_from_the_status_unless_told() -> None:
    (step,) = parse('[[error: 529 times=2]] [[error: 429 billing_error message="Budget spent."]]')
    assert [(f.status, f.type, f.times) for f in step.faults] == [
        (529, "overloaded_error", 2),
        (429, "billing_error", None),
    ]
    assert step.faults[1].message == "Budget spent."


def test_faults_strike_in_turn_and_then_no_more() -> None:
    (step,) = parse("[[cut: times=2]] [[hang: times=1 after=0]] [[say: at last]]")
    struck = [fault_at(step, attempt) for attempt in (1, 2, 3, 4)]
    assert [fault and (fault.kind, fault.after) for fault in struck] == [("cut", 4), ("cut", 4), ("hang", 0), None]


def test_a_fault_without_times_strikes_every_attempt() -> None:
    fault = fault_at(parse("[[garbage]]")[0], 1_000)
    assert fault
    assert fault.kind == "garbage"


@pytest.mark.parametrize(("results", "due"), [(0, "A"), (2, "B"), (3, "end"), (9, "end")])
def test_the_step_that_is_due_follows_from_the_tool_results(results: int, due: str) -> None:
    step = current(parse("[[tool: A]] [[also: A2]] [[tool: B]] [[say: end]]"), results)
    assert (step.tools[0].name if step.tools else step.texts[0]) == due


def test_a_script_that_has_run_out_gives_the_default_answer() -> None:
    assert current(parse("[[tool: A]]"), 1) == Step()


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("[[say: never closed", r"\[\[say: \.\.\.\]\] is not closed"),
        ("[[say: ]]", "needs text"),
        ('[[tool: Bash {"command": }]]', r'such as Bash \{"command": "ls"\}; at character 25'),
        ("[[tool: Bash ls]]", "its input as a JSON object"),
        ("[[tool: {}]]", "needs a tool name"),
        ("[[also: Bash]]", "directly after"),
        ("[[tool: A]] [[say: x]] [[also: B]]", "directly after"),
        ("[[usage: in=many]]", r"\[\[usage: in=many\]\]: in: Input should be a valid integer"),
        ("[[usage: tokens=3]]", "tokens: Extra inputs"),
        ("[[error: overloaded]]", "needs an HTTP status"),
        ("[[error: 200]]", "status: Input should be greater"),
        ("[[cut: times=0]]", "times: Input should be greater"),
        ("[[slow]]", "exactly one value"),
        ("[[stop: soon]]", "'end_turn'"),
        ('[[error: 500 message="open]]', "No closing quotation"),
        ("[[repeat: [[tool: A]]]]", "needs N between 1 and 10000"),
        ("[[repeat: 2 [[tool: A]]", "not closed"),
        ("[[repeat: 101 [[repeat: 100 [[tool: A]]]]]]", "more than 10000 markers"),
    ],
)
def test_what_cannot_be_read_is_said(script: str, problem: str) -> None:
    with pytest.raises(ScriptError, match=problem):
        parse(script)
