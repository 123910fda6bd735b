"""Each version of an object is read once."""

import pytest

from agentsession.kube import versions
from agentsession.kube.objects import KubeObject
from agentsession.kube.versions import Versions

pytestmark = pytest.mark.unit


def obj(uid: str, version: str) -> KubeObject:
    return {"metadata": {"name": "n", "uid": uid, "resourceVersion": version}}


def test_a_version_is_read_once_and_another_one_anew() -> None:
    read: list[KubeObject] = []
    seen = Versions(lambda each: read.append(each) or len(read))  # type: ignore[func-returns-value]
    assert [seen.of(obj("a", version)) for version in ("1", "1", "2", "2")] == [1, 1, 2, 2]
    assert seen.of(obj("b", "2")) == 3


def test_what_cannot_be_read_is_tried_each_time() -> None:
    seen = Versions(lambda each: each["spec"])
    for _ in range(2):
        with pytest.raises(KeyError):
            seen.of(obj("a", "1"))


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "REMEMBERED", 2)
    seen = Versions(lambda _: object())
    first = seen.of(obj("a", "1"))
    seen.of(obj("b", "1")), seen.of(obj("c", "1"))
    assert seen.of(obj("a", "1")) is not first
