"""What deleted objects leave behind goes back to the machine.

Needs PYTHONMALLOC=malloc, which the image sets: CPython's own allocator keeps each MiB in which one small object lives,
glibc's can give back any page.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable

PERIOD = 30.0
"""Seconds between two looks."""


async def give_back(objects: Callable[[], int]) -> None:
    """For ever, whenever there are fewer objects in the caches than at the last look.

    A full collection of garbage with 10,000 objects that stay takes a tenth of a second. Without glibc there is nothing
    to do.
    """
    trim, before = getattr(ctypes.CDLL(None), "malloc_trim", None), 0
    while trim is not None:
        await asyncio.sleep(PERIOD)
        if (now := objects()) < before:
            gc.collect()
            trim(0)
        before = now
