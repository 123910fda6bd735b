"""Workers: take a key from the queue, reconcile it, and say when to look again. One bad object never slows another."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from prometheus_client import Counter, Histogram

from agentsession.kube.errors import ApiError, ConflictError, ExpectedError
from agentsession.kube.objects import Key
from agentsession.kube.workqueue import WorkQueue

RECONCILE_SECONDS = 60.0
"""Time after which a reconcile that hangs is given up and tried again."""

Reconcile = Callable[[Key], Awaitable[timedelta | None]]

_SECONDS = Histogram("agentsession_reconcile_seconds", "Time of one reconcile, by controller.", ["controller"])
_ERRORS = Counter(
    "agentsession_reconcile_errors_total", "Reconciles that will be retried, by controller.", ["controller"]
)
logger = logging.getLogger(__name__)


async def work(name: str, queue: WorkQueue, reconcile: Reconcile) -> None:
    """Serve the queue for ever."""
    while True:
        key = await queue.get()
        started = time.monotonic()
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                again = await reconcile(key)
        except Exception as error:  # the queue is the boundary: whatever happens to one key, the others go on
            _ERRORS.labels(name).inc()
            wait = queue.retry(key, error.retry_after or 0.0) if isinstance(error, ApiError) else queue.retry(key)
            _log(name, key, error, wait)
        else:
            queue.forget(key)
            if again is not None:
                queue.add_after(key, max(0.0, again.total_seconds()))
        finally:
            _SECONDS.labels(name).observe(time.monotonic() - started)
            queue.done(key)


def _log(name: str, key: Key, error: Exception, wait: float) -> None:
    where = f"{name} {'/'.join(key)}"
    if isinstance(error, ConflictError):
        logger.info("%s changed meanwhile, again in %.1f s", where, wait)
    elif isinstance(error, ExpectedError):
        logger.warning("%s: %s, again in %.1f s", where, error, wait)
    else:
        logger.exception("%s failed, again in %.1f s", where, wait, exc_info=error)
