"""The election in a thread of its own, with its own event loop and sockets: a busy operator must not lose its Lease."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.lease import LONGEST, TIMEOUT, Election
from agentsession.kube.objects import Key

logger = logging.getLogger(__name__)


class Elector:
    """Start it once. Both callbacks are called in its thread.

    on_gained: this process leads, in the epoch given. on_lost: it leads no more, or the elector failed; another process
    may do at the same time whatever this one is doing, so it must end at once.
    """

    def __init__(
        self,
        connection: Connection,
        lease: Key,
        *,
        on_gained: Callable[[int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        self._election = Election(lease, self.identity, time.monotonic)
        self._connection = connection
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="elector", daemon=True)

    @property
    def is_leader(self) -> bool:
        """Whether nobody else can lead now. Ask it before each write that must not be doubled."""
        return self._election.is_leader

    @property
    def epoch(self) -> int:
        """`leaseTransitions` of the term that was won; 0 before."""
        return self._election.epoch

    def start(self) -> None:
        """Begin to campaign."""
        self._thread.start()

    def stop(self, timeout: float = 2 * TIMEOUT * LONGEST) -> None:
        """Release the Lease and wait for the thread, `timeout` seconds at most. Stop all work that needs it first."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the thread has ended already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout)

    def _main(self) -> None:
        released = False
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                released = runner.run(self._run())
        except Exception:
            logger.exception("The elector failed.")
        if not released:
            logger.error("The Lease is lost: another replica may lead now.")
            self._on_lost()

    async def _run(self) -> bool:
        async with self._connection.open() as session:
            client = ApiClient(self._connection.server, session, timeout=TIMEOUT * LONGEST)
            return await self._election.run(client, self._stop, self._on_gained)
