"""The request screen as it is installed: short requests are screened in the plane's process, long ones beside it."""

from typing import Any

import pytest

from .attacker import ask
from .test_identity import SERVED, runner
from .world import World

pytestmark = pytest.mark.node

LONG: dict[str, Any] = {"metadata": {"values": [[]] * 10_000}}
"""So many values that the request is screened in a process of its own."""


async def test_the_provider_is_told_to_fetch_nothing(world: World) -> None:
    here = await runner(await world.team(), "a")
    image = {"type": "image", "source": {"type": "url", "url": "https://evil.example/?stolen"}}
    attack: dict[str, Any] = {"messages": [{"role": "user", "content": [image]}]}
    assert await ask(here) == SERVED
    assert await ask(here, fields=LONG) == SERVED
    for more in ({}, LONG):
        answer = await ask(here, fields=attack | more)
        assert answer.status == 400
        assert "messages[0].content[0].source: type 'url'" in answer.why
