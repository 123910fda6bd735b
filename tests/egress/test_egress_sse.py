"""The parser gives whole events, whatever the pieces in which they come, and loses no byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsession.egress import sse

pytestmark = pytest.mark.unit

LINE_END = st.sampled_from([b"\n", b"\r\n"])
LINE = st.sampled_from([b"data: {}", b"data:x", b": comment", b"event: ping", b"id: 1", b"data: \xc3\xa9"])


@given(st.lists(st.tuples(st.lists(LINE, min_size=1, max_size=4), LINE_END), max_size=8), st.data())
def test_bytes_come_out_as_they_went_in(events: list[tuple[list[bytes], bytes]], data: st.DataObject) -> None:
    stream = b"".join(end.join(lines) + end + end for lines, end in events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    parser = sse.SseParser()
    found: list[sse.Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(stream[start:end])
    assert b"".join(event.raw for event in found) + parser.rest == stream
    assert not parser.rest.strip()
    assert [event.data for event in found if event.raw.strip()] == [
        "\n".join(line[5:].removeprefix(b" ").decode() for line in lines if line.startswith(b"data:"))
        for lines, _ in events
    ]


def test_an_event_is_given_when_it_is_whole() -> None:
    parser = sse.SseParser()
    assert parser.feed(b"event: ping\ndata: {}") == []
    assert parser.rest == b"event: ping\ndata: {}"
    (event,) = parser.feed(b"\n\nevent: next")
    assert (event.name, event.data, event.raw) == ("ping", "{}", b"event: ping\ndata: {}\n\n")
    assert parser.rest == b"event: next"


def test_lines_of_data_are_joined() -> None:
    (event,) = sse.SseParser().feed(b"data: one\r\ndata: two\r\n\r\n")
    assert event.data == "one\ntwo"


def test_an_endless_event_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10)
    parser = sse.SseParser()
    parser.feed(b"data: 1234")
    with pytest.raises(sse.SseError, match="more than 10 bytes"):
        parser.feed(b"5")
