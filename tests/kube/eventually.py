"""Waiting for what another process does."""

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Return when the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
