"""What this process served, as counters that only grow: the operator pulls them, and losing an answer loses nothing.

Counters live as long as the process; its incarnation id tells the operator when they began anew.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from agentsession.api.report import Report, SessionUsage, TenantCredential
from agentsession.api.session import AgentSession, Meter

from .usage import Tokens


@dataclass
class _Account:
    namespace: str
    name: str
    first_request: datetime | None = None
    requests: int = 0
    open: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cost_usd: Decimal = Decimal(0)
    stopped: Literal["TurnLimit"] | None = None
    changed: int = 0


class Ledger:
    """One account for each session, and the last word on each tenant's credential. shards: leaders that pull."""

    def __init__(self, incarnation: str, shards: int = 1) -> None:
        self.incarnation = incarnation
        self._started = datetime.now(UTC)
        self.sequence = 0
        self._reported = [0] * shards
        self._closed = False
        self._accounts: dict[str, _Account] = {}
        self._credentials: dict[tuple[str, str], tuple[int, TenantCredential]] = {}

    def requests(self, session: AgentSession) -> int:
        """Model requests over the session's life: counted here, and reported by other incarnations."""
        account = self._accounts.get(session.metadata.uid)
        usage = session.status.usage
        elsewhere = sum(m.requests for m in usage.meters if m.incarnation != self.incarnation) if usage else 0
        return elsewhere + (account.requests if account else 0)

    def begin(self, session: AgentSession, now: datetime) -> None:
        """Count one request; it stays counted whatever becomes of it, and open until it is billed."""
        account = self._account(session)
        account.first_request = account.first_request or now
        account.requests += 1
        account.open += 1
        account.stopped = None
        account.changed = self._next()

    def bill(self, session: AgentSession, tokens: Tokens, cost_usd: Decimal) -> None:
        """End one request: add what its answer used."""
        account = self._account(session)
        account.open -= 1
        account.tokens += tokens
        account.cost_usd += cost_usd
        account.changed = self._next()

    def stop(self, session: AgentSession, reason: Literal["TurnLimit"]) -> None:
        """Note that the session's requests are refused from now on."""
        account = self._account(session)
        if account.stopped != reason:
            account.stopped = reason
            account.changed = self._next()

    def credential(self, found: TenantCredential) -> None:
        """Note whether a tenant's credential can be used."""
        key = (found.namespace, found.name)
        known = self._credentials.get(key)
        if known is None or known[1] != found:
            self._credentials[key] = (self._next(), found)

    def keep_only(self, sessions: Collection[str], tenants: Collection[tuple[str, str]]) -> None:
        """Forget deleted sessions (by UID) and tenants (by namespace and name): nobody will ask for them."""
        for uid in self._accounts.keys() - set(sessions):
            del self._accounts[uid]
        for key in self._credentials.keys() - set(tenants):
            del self._credentials[key]

    def close(self, unfinished: Collection[str]) -> None:
        """Nothing will be added. Those sessions are told, for they go on elsewhere, and what they used is exact."""
        self._closed = True
        for uid in self._accounts.keys() & set(unfinished):
            self._accounts[uid].changed = self._next()
        self._next()  # so that somebody pulls also if there are none

    @property
    def reported(self) -> int:
        """The sequence up to which all leaders of the operator have pulled."""
        return min(self._reported)

    def report(self, after: int, shard: int = 0) -> Report:
        """Everything that changed after sequence `after`, for the leader of that shard."""
        if shard < len(self._reported):
            self._reported[shard] = self.sequence
        return Report(
            incarnation=self.incarnation,
            started=self._started,
            sequence=self.sequence,
            final=self._closed,
            sessions=[self._usage(uid, a) for uid, a in self._accounts.items() if a.changed > after],
            tenants=[found for changed, found in self._credentials.values() if changed > after],
        )

    def _account(self, session: AgentSession) -> _Account:
        metadata = session.metadata
        return self._accounts.setdefault(metadata.uid, _Account(metadata.namespace, metadata.name))

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence

    def _usage(self, uid: str, account: _Account) -> SessionUsage:
        tokens = account.tokens
        return SessionUsage(
            session_uid=uid,
            namespace=account.namespace,
            session_name=account.name,
            open=account.open,
            first_request=account.first_request,
            stopped=account.stopped,
            meter=Meter(
                incarnation=self.incarnation,
                requests=account.requests,
                input_tokens=tokens.input,
                cache_creation_input_tokens=tokens.cache_creation,
                cache_read_input_tokens=tokens.cache_read,
                output_tokens=tokens.output,
                cost_usd=f"{account.cost_usd.normalize():f}",
                estimated=tokens.estimated,
                final=self._closed,
            ),
        )
