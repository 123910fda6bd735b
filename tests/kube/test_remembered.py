"""The latest facts."""

import pytest

from agentsession.kube import remembered
from agentsession.kube.remembered import Remembered

pytestmark = pytest.mark.unit


def test_the_latest_are_known_by_their_last_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST", 3)
    known = Remembered()
    for number, fact in enumerate("abcdeb"):
        known.note(fact, number)
    known.note("e", 9)
    assert [known.number(fact) for fact in "abcde"] == [None, 5, None, 3, 9]
