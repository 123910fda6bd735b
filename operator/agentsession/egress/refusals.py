"""How no is said: counted, written down a few times, and slowly to those who go on asking.

An agent may have thousands of requests refused in a second. Neither the audit nor other tenants' answers may suffer.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from . import metrics
from .audit import Field, audit
from .refusal import ErrorType, Refusal

WINDOW_SECONDS = 30.0
AUDITED = 3
"""Refusals of one kind that are written down for an address in a window; the next window tells how many were not."""
AT_ONCE = 20
"""Refusals that an address is told at once in a window; with each further one it waits."""
SLOW_SECONDS = 1.0


@dataclass
class _Window:
    ends: float
    told: Counter[ErrorType] = field(default_factory=Counter)


@dataclass
class Refusals:
    """Refused requests, by the address that they came from."""

    now: Callable[[], float] = time.monotonic
    _windows: dict[str, _Window] = field(default_factory=dict)

    async def answer(self, refusal: Refusal, route: str, peer: str, **who: Field) -> web.Response:
        """The answer to a request that is refused; `who` is what is known of its sender."""
        metrics.count_refusal(route, refusal.type)
        window = self._window(peer)
        window.told[refusal.type] += 1
        if window.told[refusal.type] <= AUDITED:
            audit("refused", peer=peer, route=route, status=refusal.status, message=refusal.message, **who)
        if window.told.total() > AT_ONCE:
            await asyncio.sleep(SLOW_SECONDS)
        return refusal.response()

    def _window(self, peer: str) -> _Window:
        now = self.now()
        window = self._windows.get(peer)
        if window is None or window.ends <= now:
            self._close(now)
            window = self._windows[peer] = _Window(now + WINDOW_SECONDS)
        return window

    def _close(self, now: float) -> None:
        """Tell what was not written down in the windows that are over, and forget them."""
        for peer, window in [each for each in self._windows.items() if each[1].ends <= now]:
            del self._windows[peer]
            for kind, count in window.told.items():
                if count > AUDITED:
                    audit("refused_more", peer=peer, type=kind, count=count - AUDITED)
