"""The leading operator's view of all egress processes: asked every 2 s, and once more before a session is finished."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from pydantic import ValidationError

from agentsession.api.report import Report, SessionUsage, TenantCredential
from agentsession.keys.call import usage_call
from agentsession.keys.keyring import Keyring
from agentsession.kube.shards import ALL, Shard

PERIOD = 2.0
PULL_SECONDS = 2.0
"""How long to wait for one process."""
SILENT_SECONDS = 1.0
"""The same for one that did not answer the last times: who settles must not wait for what is gone, and what is only
slow must be heard again."""
SETTLE_TRIES = 2
REMEMBERED = timedelta(days=31)
"""Longer than a session can last."""
logger = logging.getLogger(__name__)

Key = tuple[str, str]
Resolve = Callable[[str], Awaitable[list[str]]]
"""From the URL of all peers to the base URL of each."""
Busy = Sequence[tuple[datetime, datetime | None]]
"""When a session was busy that its status does not tell of yet, from and to; None: it goes on."""


async def resolve_peers(url: str) -> list[str]:
    """The base URL of every address that the host of `url` resolves to, as of a headless Service."""
    parts = urlsplit(url)
    infos = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    addresses = sorted({str(info[4][0]) for info in infos})
    return [f"{parts.scheme}://{f'[{ip}]' if ':' in ip else ip}:{parts.port or 80}" for ip in addresses]


class _Silence(NamedTuple):
    """From when an egress process was last heard to when it was found gone: what it served then, nobody knows."""

    since: datetime
    until: datetime | None


class Meters:
    """Reports of every egress process, kept by session and by tenant. shard: whose."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        keyring: Callable[[], Keyring],
        peers_url: str,
        *,
        shard: Shard = ALL,
        session_changed: Callable[[Key], None],
        tenant_changed: Callable[[Key], None],
        process_gone: Callable[[], None] = lambda: None,
        resolve: Resolve = resolve_peers,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._http = http
        self._keyring = keyring
        self._peers_url = peers_url
        self._shard = shard
        self._session_changed = session_changed
        self._tenant_changed = tenant_changed
        self._process_gone = process_gone
        self._resolve = resolve
        self._now = now
        self._lock = asyncio.Lock()
        self._pulls = 0
        self._complete = False
        self._last: dict[str, tuple[str, int]] = {}
        self._unanswered: Counter[str] = Counter()
        self._sessions: dict[Key, dict[tuple[str, str], SessionUsage]] = {}
        self._credentials: dict[Key, dict[str, TenantCredential]] = {}
        self._heard: dict[str, datetime] = {}
        self._gone: dict[str, _Silence] = {}
        self._final: set[str] = set()
        self._asked: datetime | None = None
        self._knew: datetime | None = None
        self._strangers = False
        self._started: dict[str, datetime] = {}
        self._answered: Set[str] = frozenset()
        self._alive: Set[str] | None = None

    def session(self, key: Key, uid: str) -> list[SessionUsage]:
        """What each egress process reported of a session."""
        return [usage for usage in self._sessions.get(key, {}).values() if usage.session_uid == uid]

    def credential(self, key: Key, generation: int) -> TenantCredential | None:
        """The worst that a living egress process says of a tenant's credential; None before any has looked."""
        said = [item for item in self._credentials.get(key, {}).values() if item.generation == generation]
        return next((item for item in said if item.state != "Ready"), said[0] if said else None)

    @property
    def until(self) -> datetime | None:
        """All that was served until then was heard, or is `lost`; None while that is not known."""
        return self._asked if self._alive is not None else None

    def lost(self, served: Set[str], busy: Busy) -> frozenset[str]:
        """The processes whose last word on a session was not heard: gone ones that are known to have served it, and
        those that fell silent while it was busy. Nothing while it is not known which processes there are."""
        if self._alive is None:
            return frozenset()
        silent = {name: _Silence(since, None) for name, since in self._heard.items() if name not in self._alive}
        doubtful = (name for name, silence in (self._gone | silent).items() if _overlaps(silence, busy))
        return frozenset(
            [*(served - self._alive - self._final), *doubtful, *(["unseen"] if self._unseen(busy) else [])]
        )

    def _unseen(self, busy: Busy) -> bool:
        """Whether it may have been served by a process that this operator has never heard: by one that does not answer,
        or, before all had answered, by one that a process has replaced since."""
        if self._knew is None or self._strangers:
            return bool(busy)
        youngest = max(self._started.values(), default=None)
        return any(begun < self._knew and (youngest is None or youngest > begun) for begun, _ in busy)

    def forget(self, key: Key) -> None:
        """The session is gone."""
        self._sessions.pop(key, None)

    async def run(self) -> None:
        """Pull for ever."""
        while True:
            await self.pull()
            await asyncio.sleep(PERIOD)

    async def settle(self) -> None:
        """Have the last word of every process. One that will not answer counts as gone until it does.

        Takes SETTLE_TRIES * PULL_SECONDS at most, far less when it is known to be silent.
        """
        for _ in range(SETTLE_TRIES):
            if await self.pull():
                return
        self._alive = self._answered

    async def pull(self) -> bool:
        """Ask every process for what changed. Whether all of them answered; what did not answer keeps its last word.

        Callers who come while one is under way share the next one.
        """
        begun = self._pulls
        async with self._lock:
            if self._pulls == begun:
                self._pulls += 1
                self._complete = await self._pull()
            return self._complete

    async def _pull(self) -> bool:
        try:
            async with asyncio.timeout(PULL_SECONDS):
                peers = await self._resolve(self._peers_url)
        except OSError as error:  # TimeoutError is one
            logger.warning("egress processes cannot be found: %s", error)
            peers = []
        asked = self._now()
        answers = await asyncio.gather(*(self._ask(peer) for peer in peers))
        reports = [answer for answer in answers if answer is not None]
        self._asked = asked
        self._last = {peer: self._last[peer] for peer in peers if peer in self._last}
        self._strangers = not peers or len(self._last) < len(peers)
        self._unanswered = Counter({peer: self._unanswered[peer] for peer in peers})
        self._answered = {report.incarnation for report in reports}
        for report in reports:
            if report.started is not None:
                self._started[report.incarnation] = report.started
            if report.final:
                self._heard.pop(report.incarnation, None)
                self._final.add(report.incarnation)
            else:
                self._heard[report.incarnation] = asked
            self._take(report)
        complete = bool(answers) and len(reports) == len(answers)
        self._alive = self._answered if complete else None
        if complete:
            self._knew = self._knew or asked
            self._bury(self._answered)
        return complete

    async def _ask(self, peer: str) -> Report | None:
        incarnation, sequence = self._last.get(peer, ("", 0))
        headers = {"Authorization": f"Bearer {usage_call(self._keyring(), self._now())}"}
        try:
            async with asyncio.timeout(PULL_SECONDS if self._unanswered[peer] < SETTLE_TRIES else SILENT_SECONDS):
                report = await self._get(peer, sequence, headers)
                if report.incarnation != incarnation and sequence:
                    report = await self._get(peer, 0, headers)
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError) as error:
            logger.warning("egress process %s did not report: %s", peer, type(error).__name__)
            self._unanswered[peer] += 1
            return None
        self._unanswered[peer] = 0
        self._last[peer] = (report.incarnation, report.sequence)
        return report

    async def _get(self, peer: str, after: int, headers: dict[str, str]) -> Report:
        url = f"{peer}/v1/report?after={after}&shard={self._shard.number}"
        async with self._http.get(url, headers=headers, allow_redirects=False) as response:
            response.raise_for_status()
            return Report.model_validate_json(await response.read())

    def _take(self, report: Report) -> None:
        for usage in report.sessions:
            if not self._shard.owns(usage.namespace):
                continue
            key = (usage.namespace, usage.session_name)
            self._sessions.setdefault(key, {})[usage.session_uid, report.incarnation] = usage
            self._session_changed(key)
        for credential in report.tenants:
            if not self._shard.owns(credential.namespace):
                continue
            key = (credential.namespace, credential.name)
            known = self._credentials.setdefault(key, {})
            if known.get(report.incarnation) != credential:
                known[report.incarnation] = credential
                self._tenant_changed(key)

    def _bury(self, alive: Set[str]) -> None:
        """Note which processes are gone, and forget what they said of credentials."""
        now = self._now()
        gone = self._heard.keys() - alive
        for name in gone:
            logger.info("egress process %s is gone", name)
            self._gone[name] = _Silence(self._heard.pop(name), now)
            self._started.pop(name, None)
        self._gone = {name: item for name, item in self._gone.items() if item.until and now - item.until < REMEMBERED}
        if gone:
            self._process_gone()
        for key, known in self._credentials.items():
            for name in known.keys() - alive:
                del known[name]
                self._tenant_changed(key)


def _overlaps(silence: _Silence, busy: Busy) -> bool:
    return any(
        (silence.until is None or begun <= silence.until) and (ended is None or ended >= silence.since)
        for begun, ended in busy
    )
