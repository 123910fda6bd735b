import pytest

from devcluster.scripted import record
from devcluster.scripted.record import Record, Recorder
from devcluster.scripted.wire import Usage

pytestmark = pytest.mark.unit


def _record(recorder: Recorder, *, body: bytes = b"", key: str = "k", session: str = "s") -> Record:
    made = Record(recorder.next_number(), "POST", "/v1/messages", "", [], key, session, "127.0.0.1", body=body)
    recorder.add(made)
    return made


def test_the_oldest_requests_go_first_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_REQUESTS", 3)
    recorder = Recorder()
    for _ in range(5):
        _record(recorder)
    assert [kept.seq for kept in recorder.records()] == [3, 4, 5]
    assert [kept.seq for kept in recorder.records(since=4)] == [5]


def test_the_oldest_requests_go_first_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_BYTES", 10_000)
    recorder = Recorder()
    for _ in range(5):
        _record(recorder, body=b"x" * 4_000)
    assert [kept.seq for kept in recorder.records()] == [5 - 1, 5]


def test_sums_outlive_requests_and_a_later_count_replaces_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_REQUESTS", 1)
    recorder = Recorder()
    first, second = _record(recorder), _record(recorder, session="other")
    recorder.served(first, Usage(input=10, output=1))
    recorder.served(first, Usage(input=10, output=1))
    recorder.served(first, Usage(input=10, output=9))
    recorder.served(second, Usage(input=1, output=1))
    served = recorder.usage()
    assert served["total"] == {"requests": 2, **Usage(input=11, output=10).wire()}
    assert served["sessions"] == {
        "s": {"requests": 1, **Usage(input=10, output=9).wire()},
        "other": {"requests": 1, **Usage(input=1, output=1).wire()},
    }
    assert served["keys"] == {record.fingerprint("k"): {"requests": 2, **Usage(input=11, output=10).wire()}}


def test_sums_are_bounded_too_and_the_total_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_SUMS", 2)
    recorder = Recorder()
    for session in ("a", "b", "c"):
        recorder.served(_record(recorder, session=session), Usage(input=1))
    served = recorder.usage()
    assert served["total"] == {"requests": 3, **Usage(input=3).wire()}
    assert served["sessions"] == {name: {"requests": 1, **Usage(input=1).wire()} for name in ("b", "c")}
