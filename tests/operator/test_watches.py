"""Who begins to lead knows what there is, whatever its watches have not told yet."""

from typing import Any

import pytest

from agentsession import watches
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient, ObjectList
from agentsession.kube.errors import UnreachableError
from agentsession.kube.resource import PODS, Resource

pytestmark = pytest.mark.unit


def obj(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(version)}}


class Api(ApiClient):
    """Two of each kind, to be had at the second try."""

    def __init__(self) -> None:
        self.lists: list[tuple[str, str]] = []

    async def list(self, resource: Resource, **which: str) -> ObjectList:
        asked = (resource.plural, which["label_selector"])
        self.lists.append(asked)
        if self.lists.count(asked) == 1:
            raise UnreachableError(0, "Unreachable", "no")
        return ObjectList([obj("old", 1), obj("new", 7)], "9")


async def test_all_but_what_is_decided_about_is_listed_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "RELIST_PAUSE", 0)
    api, caches = Api(), Caches()
    caches.pods.replace([obj("old", 1), obj("gone", 2)], "3")
    await watches.catch_up(api, caches)
    for cache in (caches.pods, caches.tenants, caches.policies, caches.namespaces, caches.accounts, caches.claims):
        assert {each["metadata"]["name"] for each in cache} == {"old", "new"}
    assert not [*caches.sessions, *caches.pools]
    assert api.lists.count((PODS.plural, watches.OURS)) == 2
