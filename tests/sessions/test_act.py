"""What a pod's deletion leaves in the cache, and a call to a runner among those who listen."""

import asyncio
from typing import Any
from unittest.mock import create_autospec

import pytest

from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.objects import Key, KubeObject, is_terminating
from agentsession.kube.resource import Resource
from agentsession.runners.client import RunnerClient, RunnerError, RunnerRefusedError, Target
from agentsession.runners.listeners import Listeners
from agentsession.sessions.act import Actor

from .build import UID, session

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


@pytest.mark.parametrize(
    ("error", "refusals", "followed"), [(RunnerError("no answer"), 0, 1), (RunnerRefusedError("no"), 1, 0)]
)
async def test_a_runner_that_is_not_reached_is_followed(error: RunnerError, refusals: int, followed: int) -> None:
    """Its first word is the end of waiting. One that refuses is asked again soon, and not for ever."""
    actor = Actor.__new__(Actor)  # of which a call needs these two
    runners: Any = create_autospec(RunnerClient, instance=True)
    runners.bind.side_effect = error
    runners.state.side_effect = asyncio.Event().wait
    actor._runners, actor._listeners = runners, Listeners(runners, lambda _: None)
    who, target = session(), Target("p-1", "10.0.0.9", UID)
    with pytest.raises(type(error)):
        await actor._call(who.key, target, actor._bind(who.key, target, None))
    assert actor._listeners.refusals(who.key, "p-1") == refusals
    assert sum(task.get_name().startswith("listen") for task in asyncio.all_tasks()) == followed
    await actor._listeners.close()


async def test_a_pod_that_is_being_deleted_is_known_to_be_before_a_watch_tells() -> None:
    actor = Actor.__new__(Actor)  # of which a deletion needs these two
    actor._api, actor._caches = Api(), Caches()
    actor._caches.pods.observe("ADDED", POD)
    await actor._delete(KEY, "p-1", None)
    known = actor._caches.pods.get(KEY)
    assert known is not None
    assert is_terminating(known)
