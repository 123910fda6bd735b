from collections.abc import AsyncIterator

import aiohttp
import pytest

from devcluster.scripted.server import Scripted, running


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    async with running() as server:
        yield server


@pytest.fixture
async def client(scripted: Scripted) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"x-api-key": "test", "anthropic-version": "2023-06-01", "x-claude-code-session-id": "one"}
    async with aiohttp.ClientSession(scripted.url, headers=headers) as session:
        yield session
