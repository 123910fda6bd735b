"""The latest facts."""

import pytest

from agentsession.kube import remembered
from agentsession.kube.remembered import Remembered

pytestmark = pytest.mark.unit


def test_the_latest_are_known_by_their_last_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "PLACES", 3)
    known = Remembered()
    for fact, number in ((1, 5), (2, 6), (1, 7), (5, 8)):
        known.note(fact, number)
    assert [known.number(fact) for fact in (0, 1, 2, 3, 5)] == [0, 7, 0, 0, 8]
