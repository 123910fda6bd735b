"""When a full collection is due."""

import asyncio
import gc

import pytest

from agentsession.kube.memory import MANY, PERIOD, give_back
from tests.kube.fake_time import in_fake_time

pytestmark = pytest.mark.unit


@in_fake_time
async def test_it_collects_once_when_half_has_gone_and_not_for_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, collected = iter([10, 5, MANY, 5 * MANY, 4 * MANY, 2 * MANY, 2 * MANY, 0, 0]), []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(asyncio.get_running_loop().time()))
    task = asyncio.create_task(give_back(lambda: next(counts, 0)))
    await asyncio.sleep(PERIOD * 12)
    task.cancel()
    assert collected == [6 * PERIOD, 8 * PERIOD]
