"""One step of a pool: what is written of it, and when not, by a leader that has just begun or is one no more."""

from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from agentsession.api.base import to_json
from agentsession.kube.caches import Caches
from agentsession.kube.objects import KubeObject
from agentsession.pools.act import Actor
from agentsession.pools.controller import COUNTS_PERIOD, DEPOSED, PoolController
from agentsession.pools.decide import ENDED_HOLDS
from agentsession.pools.observed import Observed
from agentsession.resources.names import SESSION_LABEL
from tests.sessions.build import INSTALL, NOW, ended_pod

from .test_decide import plan, pool, seen, warm

pytestmark = pytest.mark.unit

KEY = ("n", "p")


def stored(what: Observed, version: int) -> KubeObject:
    """The pool as it says what was seen."""
    status = plan(pool(2), what).status
    raw: dict[str, Any] = to_json(pool(2)) | {"status": to_json(status)}
    raw["metadata"]["resourceVersion"] = str(version)
    return raw


class Scene:
    def __init__(self, known: Observed, *, leads: bool = True) -> None:
        self.sees = known
        self.caches, self.api, self.actor, self.observer = Caches(), AsyncMock(), AsyncMock(), Mock()
        self.caches.pools.observe("ADDED", stored(known, 1))
        self.api.apply_status = AsyncMock(side_effect=lambda *_, **__: stored(self.sees, 2))
        self.observer.observe = Mock(side_effect=lambda *_, **__: self.sees)
        self.controller = PoolController(
            self.api,
            self.caches,
            self.observer,
            self.actor,
            AsyncMock(),
            Mock(),
            INSTALL,
            {},
            leading=lambda: leads,
            busy=lambda: False,
            now=lambda: NOW,
        )


async def test_a_new_leader_tells_counts_at_once_and_then_not_too_often() -> None:
    scene = Scene(seen(warm("a"), warm("b")))
    scene.sees = seen(warm("a"), warm("b"), claimed=1)
    await scene.controller.reconcile(KEY)
    assert scene.api.apply_status.await_count == 1
    scene.sees = seen(warm("a"), warm("b"), claimed=2)
    again = await scene.controller.reconcile(KEY)
    assert again is not None
    assert timedelta(0) < again <= COUNTS_PERIOD
    assert scene.api.apply_status.await_count == 1


async def test_who_leads_no_more_does_nothing_and_does_not_hurry() -> None:
    over = ended_pod("Evicted", ago=int(ENDED_HOLDS.total_seconds()) + 1)
    scene = Scene(seen(warm("a")), leads=False)
    scene.sees = seen(warm("a"), over)
    assert plan(pool(2), scene.sees).delete == [over], "there is something to do"
    assert await scene.controller.reconcile(KEY) == DEPOSED
    assert not scene.api.mock_calls
    assert not scene.actor.mock_calls


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_runner_that_was_claimed_since_is_left_alone(*, claimed: bool) -> None:
    actor = Actor.__new__(Actor)  # of which a deletion needs these two
    actor._api, actor._caches = api, caches = AsyncMock(), Caches()
    api.delete = AsyncMock(return_value={"metadata": {}})
    labels = {SESSION_LABEL: "u"} if claimed else {}
    metadata = {"namespace": "n", "name": "a", "uid": "a", "resourceVersion": "7", "labels": labels}
    caches.pods.observe("ADDED", {"metadata": metadata})
    await actor.delete("n", warm("a"))
    assert [call.kwargs["resource_version"] for call in api.delete.await_args_list] == ([] if claimed else ["7"])
