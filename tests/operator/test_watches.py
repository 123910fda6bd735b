"""Who begins to lead knows every pod, whatever its watch has not told yet."""

from typing import Any

import pytest

from agentsession import watches
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient, ObjectList
from agentsession.kube.errors import UnreachableError
from agentsession.kube.resource import PODS, Resource

pytestmark = pytest.mark.unit


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(version)}}


class Api(ApiClient):
    """Two pods, to be had at the second try."""

    def __init__(self) -> None:
        self.lists: list[tuple[str, str]] = []

    async def list(self, resource: Resource, **which: str) -> ObjectList:
        self.lists.append((resource.plural, which["label_selector"]))
        if len(self.lists) == 1:
            raise UnreachableError(0, "Unreachable", "no")
        return ObjectList([pod("old", 1), pod("new", 7)], "9")


async def test_pods_are_listed_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "RELIST_PAUSE", 0)
    api, caches = Api(), Caches()
    caches.pods.replace([pod("old", 1), pod("gone", 2)], "3")
    await watches.list_pods(api, caches)
    assert {each["metadata"]["name"] for each in caches.pods} == {"old", "new"}
    assert api.lists == [(PODS.plural, watches.OURS)] * 2
