"""What an answer is billed at: the provider's own counts, or a bound that makes aborting no bargain."""

import json
from decimal import Decimal

import pytest

from agentsession.egress.pricing import cost
from agentsession.egress.usage import Tokens, UsageReader

pytestmark = pytest.mark.unit


def reader(*, request_bytes: int = 1000, max_tokens: int = 500, streamed: bool = True) -> UsageReader:
    return UsageReader(request_bytes=request_bytes, max_tokens=max_tokens, streamed=streamed)


def read(*events: dict[str, object]) -> Tokens:
    usage = reader()
    for event in events:
        usage.event(json.dumps(event))
    return usage.tokens()


def start(**usage: object) -> dict[str, object]:
    return {"type": "message_start", "message": {"usage": usage}}


def delta(stop: str | None = "end_turn", **usage: object) -> dict[str, object]:
    return {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}


def text(words: str) -> dict[str, object]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}}


def test_counts_overwrite_and_are_never_added() -> None:
    counted = read(
        start(input_tokens=10, cache_creation_input_tokens=20, cache_read_input_tokens=30, output_tokens=1),
        text("hello"),
        delta(None, output_tokens=7, input_tokens=12),
        delta(output_tokens=9, cache_read_input_tokens=31),
        {"type": "message_stop"},
    )
    assert counted == Tokens(input=12, cache_creation=20, cache_read=31, output=9)


def test_cache_writes_of_an_hour_are_a_part_of_cache_writes() -> None:
    creation = {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15}
    counted = read(
        start(input_tokens=1, cache_creation_input_tokens=20, cache_creation=creation), delta(output_tokens=2)
    )
    assert (counted.cache_creation, counted.cache_creation_1h) == (20, 15)


def test_a_compaction_is_added_and_other_iterations_are_not() -> None:
    iterations = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 40, "cache_read_input_tokens": 3},
        {"type": "message", "input_tokens": 10, "output_tokens": 9},
    ]
    counted = read(start(input_tokens=10), delta(output_tokens=9, iterations=iterations))
    assert counted == Tokens(input=110, cache_read=3, output=49)


def test_unknown_events_and_nonsense_count_nothing() -> None:
    usage = reader()
    for data in ("", "nonsense", "[]", '{"type": "ping"}', '{"type": "message_start"}', '{"type": "message_delta"}'):
        usage.event(data)
    assert not usage.began


@pytest.mark.parametrize(
    ("events", "bound"),
    [
        pytest.param((), Tokens(input=1000, estimated=True), id="nothing came: the request's bytes"),
        pytest.param(
            (start(input_tokens=10, output_tokens=1), text("héllo")),
            Tokens(input=10, output=6, estimated=True),
            id="bytes streamed so far",
        ),
        pytest.param(
            (start(input_tokens=10, output_tokens=1), text("x" * 900)),
            Tokens(input=10, output=500, estimated=True),
            id="never more than max_tokens",
        ),
        pytest.param(
            (start(input_tokens=10, output_tokens=1), text("x"), delta(None, output_tokens=77)),
            Tokens(input=10, output=77, estimated=True),
            id="never less than was counted",
        ),
        pytest.param(
            (
                start(input_tokens=10),
                {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t", "name": "Bash"}},
                {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
            ),
            Tokens(input=10, output=11, estimated=True),
            id="tool calls count too",
        ),
    ],
)
def test_a_stream_that_breaks_off_is_billed_at_a_bound(events: tuple[dict[str, object], ...], bound: Tokens) -> None:
    assert read(*events) == bound


def test_a_whole_answer_has_its_count_and_a_lost_one_its_bound() -> None:
    whole = reader(streamed=False)
    whole.body(json.dumps({"usage": {"input_tokens": 3, "output_tokens": 4}}).encode())
    assert whole.tokens() == Tokens(input=3, output=4)
    assert reader(streamed=False).tokens() == Tokens(input=1000, output=500, estimated=True)


def test_price_of_a_listed_model() -> None:
    tokens = Tokens(input=1_000_000, cache_creation=1_000_000, cache_read=1_000_000, output=1_000_000)
    assert cost("claude-opus-5-5", tokens) == Decimal("29.20")  # 4 in, 5 written, 0.20 read, 20 out


def test_an_hour_in_the_cache_costs_more_than_five_minutes() -> None:
    short = Tokens(cache_creation=1_000_000)
    assert cost("claude-opus-5-5", short) == Decimal(5)
    assert cost("claude-opus-5-5", Tokens(cache_creation=1_000_000, cache_creation_1h=1_000_000)) == Decimal(8)


def test_an_unknown_model_is_not_free() -> None:
    assert cost("no-such-model", Tokens(input=900_000, cache_read=100_000, output=1_000_000)) == Decimal(30)
