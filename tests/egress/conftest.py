"""A plane in front of a scripted model, and the agent that asks it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from devcluster.scripted.server import Scripted, running

from . import build
from .plane import Plane, listening

HEADERS = {"anthropic-version": "2023-06-01"}


@pytest.fixture
async def model() -> AsyncIterator[Scripted]:
    """A model that does what its prompt says, and accepts the tenant's key alone."""
    async with running(keys=frozenset({build.KEY})) as scripted:
        yield scripted


@pytest.fixture
async def plane(model: Scripted) -> AsyncIterator[Plane]:
    """A plane that serves pod a, which is at 127.0.0.1."""
    async with listening(model.url) as made:
        yield made


@pytest.fixture
async def agent(plane: Plane) -> AsyncIterator[aiohttp.ClientSession]:
    """The CLI in pod a: its address and its identity."""
    async with aiohttp.ClientSession(plane.url, headers=HEADERS | {"x-api-key": build.token()}) as session:
        yield session


def prompt(text: str, **fields: object) -> dict[str, object]:
    """A request body."""
    messages = [{"role": "user", "content": text}]
    return {"model": build.MODEL, "max_tokens": 1000, "messages": messages, **fields}


@contextlib.asynccontextmanager
async def from_address(plane: Plane, address: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the same identity at another address."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    headers = HEADERS | {"x-api-key": build.token()}
    async with aiohttp.ClientSession(plane.url, headers=headers, connector=connector) as session:
        yield session


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that another task does."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)
