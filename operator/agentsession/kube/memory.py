"""Gives memory back when many cached objects have gone.

CPython keeps some freed objects of each kind for the next of the kind, wherever they lie, and lets go of them in a full
collection only. A few dozen hold as many MiB. A process that has become idle would not collect for hours.
"""

import asyncio
import gc
from collections.abc import Callable

PERIOD = 10.0
"""Seconds."""
MANY = 200
"""Objects: fewer are not worth a collection."""


async def give_back(count: Callable[[], int]) -> None:
    """Collect whenever half of the most objects that there were have gone, for ever. count: how many there are now."""
    most = 0
    while True:
        await asyncio.sleep(PERIOD)
        most = max(most, now := count())
        if most - now > max(MANY, most // 2):
            gc.collect()
            most = now
