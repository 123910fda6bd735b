"""The leading operator's view of all egress processes: asked every 2 s, and once more before a session is finished."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp
from pydantic import ValidationError

from agentsession.api.report import Report, SessionUsage, TenantCredential
from agentsession.keys.call import usage_call
from agentsession.keys.keyring import Keyring

PERIOD = 2.0
PULL_SECONDS = 5.0
logger = logging.getLogger(__name__)

Key = tuple[str, str]
Resolve = Callable[[str], Awaitable[list[str]]]
"""From the URL of all peers to the base URL of each."""


async def resolve_peers(url: str) -> list[str]:
    """The base URL of every address that the host of `url` resolves to, as of a headless Service."""
    parts = urlsplit(url)
    infos = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    addresses = sorted({str(info[4][0]) for info in infos})
    return [f"{parts.scheme}://{f'[{ip}]' if ':' in ip else ip}:{parts.port or 80}" for ip in addresses]


class Meters:
    """Reports of every egress process, kept by session and by tenant."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        keyring: Callable[[], Keyring],
        peers_url: str,
        *,
        session_changed: Callable[[Key], None],
        tenant_changed: Callable[[Key], None],
        resolve: Resolve = resolve_peers,
    ) -> None:
        self._http = http
        self._keyring = keyring
        self._peers_url = peers_url
        self._session_changed = session_changed
        self._tenant_changed = tenant_changed
        self._resolve = resolve
        self._lock = asyncio.Lock()
        self._last: dict[str, tuple[str, int]] = {}
        self._sessions: dict[str, dict[str, SessionUsage]] = {}
        self._credentials: dict[Key, dict[str, TenantCredential]] = {}
        self.alive: frozenset[str] | None = None
        """Incarnations that answered the last pull; None while some process did not answer."""

    def session(self, uid: str) -> list[SessionUsage]:
        """What each egress process reported of a session."""
        return list(self._sessions.get(uid, {}).values())

    def credential(self, key: Key, generation: int) -> TenantCredential | None:
        """The worst that a living egress process says of a tenant's credential; None before any has looked."""
        said = [item for item in self._credentials.get(key, {}).values() if item.generation == generation]
        return next((item for item in said if item.state != "Ready"), said[0] if said else None)

    def forget_session(self, uid: str) -> None:
        """The session is gone."""
        self._sessions.pop(uid, None)

    async def run(self) -> None:
        """Pull for ever."""
        while True:
            await self.pull()
            await asyncio.sleep(PERIOD)

    async def pull(self) -> bool:
        """Ask every process for what changed. Whether all of them answered; what did not answer keeps its last word."""
        async with self._lock:
            try:
                peers = await self._resolve(self._peers_url)
            except OSError as error:
                logger.warning("egress processes cannot be found: %s", error)
                peers = []
            answers = await asyncio.gather(*(self._ask(peer) for peer in peers))
            complete = bool(answers) and all(answer is not None for answer in answers)
            reports = [answer for answer in answers if answer is not None]
            self.alive = frozenset(report.incarnation for report in reports) if complete else None
            for report in reports:
                self._take(report)
            self._drop_dead()
            return complete

    async def _ask(self, peer: str) -> Report | None:
        incarnation, sequence = self._last.get(peer, ("", 0))
        headers = {"Authorization": f"Bearer {usage_call(self._keyring(), datetime.now(UTC))}"}
        try:
            async with asyncio.timeout(PULL_SECONDS):
                report = await self._get(peer, sequence, headers)
                if report.incarnation != incarnation and sequence:
                    report = await self._get(peer, 0, headers)
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError) as error:
            logger.warning("egress process %s did not report: %s", peer, type(error).__name__)
            return None
        self._last[peer] = (report.incarnation, report.sequence)
        return report

    async def _get(self, peer: str, after: int, headers: dict[str, str]) -> Report:
        url = f"{peer}/v1/report?after={after}"
        async with self._http.get(url, headers=headers, allow_redirects=False) as response:
            response.raise_for_status()
            return Report.model_validate_json(await response.read())

    def _take(self, report: Report) -> None:
        for usage in report.sessions:
            self._sessions.setdefault(usage.session_uid, {})[report.incarnation] = usage
            self._session_changed((usage.namespace, usage.session_name))
        for credential in report.tenants:
            key = (credential.namespace, credential.name)
            known = self._credentials.setdefault(key, {})
            if known.get(report.incarnation) != credential:
                known[report.incarnation] = credential
                self._tenant_changed(key)

    def _drop_dead(self) -> None:
        if self.alive is None:
            return
        for key, known in self._credentials.items():
            for incarnation in known.keys() - self.alive:
                del known[incarnation]
                self._tenant_changed(key)
