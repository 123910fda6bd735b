"""The tenants' credentials: Secrets of their namespaces, read by name, sent only to the hosts that they name.

A Secret can be used if a RoleBinding in its namespace lets the egress plane get it, and if its annotation names the
host. So nobody can have a Secret sent to themselves that they could not read. Rotation is reading it again.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from agentsession.api.installation import Installation
from agentsession.api.report import CredentialState, TenantCredential
from agentsession.api.tenant import AgentTenant
from agentsession.kube.errors import ApiError, ForbiddenError, NotFoundError
from agentsession.kube.objects import Key, KubeObject, annotations_of
from agentsession.resources.grants import grant_commands
from agentsession.resources.names import HOSTS_ANNOTATION

from .audit import audit
from .directory import View
from .ledger import Ledger
from .refusal import Refusal, unavailable

READY_SECONDS = 30.0
"""Age at which a Secret is read again."""
UNREADY_SECONDS = 2.0
"""The same, for one that somebody may be putting right; doubled each time that nobody has, up to READY_SECONDS."""
READS_AT_ONCE = 8


@dataclass(frozen=True)
class Credential:
    """What was found, and the key if it can be used."""

    found: TenantCredential
    key: str | None = field(default=None, repr=False)

    def refusal(self) -> Refusal:
        """What a runner is told while there is no key."""
        return unavailable(f"the tenant's credential cannot be used ({self.found.state}): {self.found.message}", 5)


def judge(installation: Installation, tenant: AgentTenant, secret: KubeObject | ApiError | None) -> Credential:
    """What `secret`, or the error of reading it, means for the tenant; None if it was not read.

    The messages are for the tenant's condition: one line, what is wrong and what would be right.
    """
    provider = tenant.spec.provider
    namespace = tenant.metadata.namespace
    reference = provider.credential_secret_ref
    name = f"Secret {namespace}/{reference.name}"
    host = urlsplit(provider.base_url).hostname or ""

    def found(state: CredentialState, message: str = "", key: str | None = None) -> Credential:
        metadata = tenant.metadata
        told = TenantCredential(
            namespace=namespace, name=metadata.name, generation=metadata.generation, state=state, message=message
        )
        return Credential(told, key)

    if provider.base_url not in installation.upstreams:
        allowed = ", ".join(installation.upstreams)
        return found("UpstreamNotAllowed", f"spec.provider.baseURL: the installer allows {allowed}")
    match secret:
        case ForbiddenError():
            commands = grant_commands(installation, namespace, reference.name)
            return found("GrantMissing", f"the egress plane may not read {name}. To let it: {commands}")
        case NotFoundError():
            return found("SecretNotFound", f"{name} does not exist: create it, with the API key in {reference.key!r}")
        case ApiError() | None:
            return found("Unknown", f"{name} could not be read; it is tried again")

    hosts = [entry.strip() for entry in annotations_of(secret).get(HOSTS_ANNOTATION, "").split(",")]
    if host not in hosts:
        return found("HostNotAllowed", f"{name}: the annotation {HOSTS_ANNOTATION} must name {host}, to be sent there")
    key = _key(secret, reference.key)
    if key is None:
        return found("KeyMissing", f"{name} has no usable API key in {reference.key!r}: one line of printable ASCII")
    return found("Ready", key=key)


def _key(secret: KubeObject, name: str) -> str | None:
    data: dict[str, str] = secret.get("data") or {}
    try:
        # `echo KEY | base64` has a newline at its end; a header must not.
        key = base64.b64decode(data.get(name, ""), validate=True).decode("ascii").strip()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return key if key and key.isprintable() else None


@dataclass
class _Reading:
    credential: Credential
    order: tuple[int, int]
    """The tenant's generation, and the number of the reading: what is read later may be known earlier."""
    pause: float
    due: float


class Credentials:
    """Keeps every tenant's credential read, and tells the ledger what it finds.

    `read` gets a Secret by (namespace, name), uncached; it raises ApiError.
    """

    def __init__(
        self,
        read: Callable[[Key], Awaitable[KubeObject]],
        installation: Installation,
        tenants: View[AgentTenant],
        ledger: Ledger,
    ) -> None:
        self._read_secret = read
        self._installation = installation
        self._tenants = tenants
        self._ledger = ledger
        self._readings: dict[str, _Reading] = {}
        self._begun = 0
        self._slots = asyncio.Semaphore(READS_AT_ONCE)
        self._changed = asyncio.Event()

    async def of(self, tenant: AgentTenant) -> Credential:
        """The tenant's credential as last read; read now if it never was, or if the tenant has changed."""
        reading = self._readings.get(tenant.metadata.uid)
        if reading is None or reading.order[0] != tenant.metadata.generation:
            return await self.read(tenant)
        return reading.credential

    def wake(self) -> None:
        """A tenant has changed."""
        self._changed.set()

    async def keep_reading(self) -> None:
        """Read what is due, for ever."""
        while True:
            self._changed.clear()
            now = asyncio.get_running_loop().time()
            tenants = self._tenants.all()
            self._forget_all_but({tenant.metadata.uid for tenant in tenants})
            await asyncio.gather(*(self.read(tenant) for tenant in tenants if self.due(tenant) <= now))
            try:
                async with asyncio.timeout(UNREADY_SECONDS / 2):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def due(self, tenant: AgentTenant) -> float:
        """When to read it, in the loop's time."""
        reading = self._readings.get(tenant.metadata.uid)
        return reading.due if reading and reading.order[0] == tenant.metadata.generation else 0.0

    def _forget_all_but(self, uids: set[str]) -> None:
        for uid in self._readings.keys() - uids:
            del self._readings[uid]

    async def read(self, tenant: AgentTenant) -> Credential:
        """Read it now."""
        self._begun += 1
        order = (tenant.metadata.generation, self._begun)
        async with self._slots:
            credential = judge(self._installation, tenant, await self._secret(tenant))
        before = self._readings.get(tenant.metadata.uid)
        if before and before.order > order:
            return credential
        same = before is not None and before.order[0] == order[0]
        if credential.found.state == "Unknown" and before and same:
            credential = before.credential  # an API server that is away for a moment withdraws nothing
        elif before is None or before.credential.found != credential.found:
            name = tenant.spec.provider.credential_secret_ref.name
            audit(
                "credential", namespace=tenant.key[0], tenant=tenant.key[1], secret=name, state=credential.found.state
            )
        pause = _pause(credential, before if same else None)
        due = asyncio.get_running_loop().time() + pause
        self._readings[tenant.metadata.uid] = _Reading(credential, order, pause, due)
        self._ledger.credential(credential.found)
        return credential

    async def _secret(self, tenant: AgentTenant) -> KubeObject | ApiError | None:
        provider = tenant.spec.provider
        if provider.base_url not in self._installation.upstreams:
            return None
        key: Key = (tenant.metadata.namespace, provider.credential_secret_ref.name)
        try:
            return await self._read_secret(key)
        except ApiError as error:
            return error


def _pause(credential: Credential, before: _Reading | None) -> float:
    """Seconds until it is read again."""
    if credential.key:
        return READY_SECONDS
    if before is None or before.credential.found != credential.found:
        return UNREADY_SECONDS
    return min(2 * before.pause, READY_SECONDS)
