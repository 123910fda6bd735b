"""Meters among egress processes, on no machine that is too busy."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from agentsession.usage import meters as meters_module

from .plane import Plane


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no silent process."""
    for name in ("PULL_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(meters_module, name, 60)


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Plane(http, stack)
