"""The screen where it delays nobody: long bodies are parsed in a process of their own, one of each tenant at a time."""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from weakref import WeakValueDictionary

from agentsession.api.tenant import AgentTenant

from .bodies import Body
from .refusal import Refusal, unavailable
from .screen import Route, Screened, screen_body

SHORT = 3_000
"""JSON values that are parsed here, in about a millisecond; the CLI's first request has 600."""

log = logging.getLogger(__name__)


class Screening:
    """Screens bodies."""

    def __init__(self) -> None:
        self._process: ProcessPoolExecutor | None = None
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, route: Route, body: Body, tenant: AgentTenant) -> Screened | Refusal:
        """The request in `body`, or why it is not forwarded."""
        models = tenant.spec.provider.models
        if body.structure <= SHORT:
            return screen_body(route, body.data, models)
        async with self._turns.setdefault(tenant.metadata.namespace, asyncio.Lock()):
            process = self._process = self._process or _started()
            try:
                return await asyncio.get_running_loop().run_in_executor(process, screen_body, route, body.data, models)
            except BrokenProcessPool:
                log.exception("the screening process ended; the next long request starts another")
                self._process = None
                return unavailable("the request could not be screened")


def _started() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_follow_parent)


def _follow_parent() -> None:
    """Have this process end when the one that started it does, however that ends, and not before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(0)
