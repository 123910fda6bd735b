"""What a pod's deletion leaves in the cache."""

from typing import Any

import pytest

from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.objects import Key, KubeObject, is_terminating
from agentsession.kube.resource import Resource
from agentsession.sessions.act import Actor

pytestmark = pytest.mark.unit

KEY = ("n", "s-1")
POD: dict[str, Any] = {"metadata": {"namespace": "n", "name": "s-1", "uid": "p-1", "resourceVersion": "5"}}


class Api(ApiClient):
    """Its one pod takes its time to go."""

    def __init__(self) -> None:
        pass

    async def delete(self, resource: Resource, key: Key, **_: object) -> KubeObject:
        assert (resource.plural, key) == ("pods", KEY)
        return {"metadata": {**POD["metadata"], "resourceVersion": "6", "deletionTimestamp": "2026-11-21T00:00:00Z"}}


async def test_a_pod_that_is_being_deleted_is_known_to_be_before_a_watch_tells() -> None:
    actor = Actor.__new__(Actor)  # of which a deletion needs these two
    actor._api, actor._caches = Api(), Caches()
    actor._caches.pods.observe("ADDED", POD)
    await actor._delete(KEY, "p-1", None)
    known = actor._caches.pods.get(KEY)
    assert known is not None
    assert is_terminating(known)
