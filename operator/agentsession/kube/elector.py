"""The election in a thread of its own, with its own event loop and sockets: a busy operator must not lose its Lease."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.lease import LONGEST, TIMEOUT, Election
from agentsession.kube.objects import Key
from agentsession.kube.shards import Agreement, Shard, lease_of

logger = logging.getLogger(__name__)


class Elector:
    """Start it once. It campaigns for every shard and leads the first that it wins. Callbacks are called in its thread.

    on_gained: this process leads that shard, in the epoch given. on_lost: it leads no more, or the elector failed;
    another process may do at the same time whatever this one is doing, so it must end at once.
    """

    def __init__(
        self,
        connection: Connection,
        lease: Key,
        shards: int = 1,
        *,
        on_gained: Callable[[Shard, int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        agreed = Agreement(lease, shards, time.monotonic).holds
        self._terms = [
            _Term(Shard(number, shards), Election(lease_of(lease, number), self.identity, time.monotonic, agreed))
            for number in range(shards)
        ]
        self._won: _Term | None = None
        self._connection = connection
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="elector", daemon=True)

    @property
    def is_leader(self) -> bool:
        """Whether nobody else can lead now. Ask it before each write that must not be doubled."""
        return self._won is not None and self._won.election.is_leader

    @property
    def epoch(self) -> int:
        """`leaseTransitions` of the term that was won; 0 before."""
        return self._won.election.epoch if self._won is not None else 0

    def start(self) -> None:
        """Begin to campaign."""
        self._thread.start()

    def stop(self, timeout: float = 2 * TIMEOUT * LONGEST) -> None:
        """Release the Lease and wait for the thread, `timeout` seconds at most. Stop all work that needs it first."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the thread has ended already
            self._loop.call_soon_threadsafe(self._end, None)
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
            terms = (term.election.run(client, term.stop, partial(self._begin, term)) for term in self._terms)
            return all(await asyncio.gather(*terms))

    def _begin(self, term: "_Term", epoch: int) -> None:
        """Two may be won at once: then the second is released."""
        if self._won is None:
            self._won = term
            self._end(term)
            self._on_gained(term.shard, epoch)

    def _end(self, but: "_Term | None") -> None:
        for term in self._terms:
            if term is not but:
                term.stop.set()


@dataclass(frozen=True)
class _Term:
    """A shard that may be led."""

    shard: Shard
    election: Election
    stop: asyncio.Event = field(default_factory=asyncio.Event)
