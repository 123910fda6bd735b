"""The gate: from a connection and a token to the session that is served. Signatures first, then look-ups."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from agentsession.api.tenant import AgentTenant
from agentsession.keys.identity import Identity, verify_identity
from agentsession.keys.keyring import InvalidTokenError, Keyring

from .admission import Served, Unseen, admit
from .directory import Directory, normal_address
from .refusal import Refusal, unavailable

LOOKS = 3
"""Pod, session and tenant may each be unseen."""


@dataclass(frozen=True)
class Admitted:
    """Who was let in, from where."""

    identity: Identity
    peer: str
    served: Served


@dataclass
class Gate:
    """Decides with what this replica knows; a replica that knows nothing recent lets nobody in."""

    directory: Directory
    keyring: Callable[[], Keyring | None]
    """The egress plane's own keys, None until they were read."""
    fresh: Callable[[], bool]
    """Whether the watches have moved lately."""
    look: Callable[[Unseen], Awaitable[bool]]

    async def admit(self, request: web.Request) -> Admitted | Refusal:
        """Who sent `request`, by the token and by the connection's peer."""
        checked = self.identify(request)
        if isinstance(checked, Refusal):
            return checked
        peer = peer_of(request)
        decision = admit(self.directory, checked, peer)
        for _ in range(LOOKS):
            if not isinstance(decision, Unseen) or not await self.look(decision):
                break
            decision = admit(self.directory, checked, peer)
        match decision:
            case Served():
                return Admitted(checked, peer, decision)
            case Unseen():
                return decision.refusal
            case Refusal():
                return decision

    def identify(self, request: web.Request) -> Identity | Refusal:
        """The identity that `request` carries, if its signature is ours and it has not expired."""
        keyring = self.keyring()
        if keyring is None or self.directory.operator_keys is None or not self.fresh():
            return unavailable(
                "the egress plane has no recent view of the cluster; it lets nobody through until it has"
            )
        token = bearer(request.headers)
        if token is None:
            return Refusal(401, "authentication_error", "no identity: send it as Authorization: Bearer or x-api-key")
        try:
            return verify_identity(token, keyring.jwks())
        except InvalidTokenError as error:
            return Refusal(401, "authentication_error", f"not a valid identity: {error}")

    def again(self, admitted: Admitted) -> Served | Refusal:
        """What is served now to somebody who was let in, or why they may no longer stay."""
        decision = admit(self.directory, admitted.identity, admitted.peer)
        if isinstance(decision, Unseen):
            return decision.refusal
        if isinstance(decision, Served) and _withdrawn(admitted.served.tenant, decision.tenant):
            return Refusal(403, "permission_error", "the tenant's provider was changed under this request")
        return decision

    def recheck(self, admitted: Admitted) -> Refusal | None:
        """Why somebody who was let in may no longer stay."""
        decision = self.again(admitted)
        return decision if isinstance(decision, Refusal) else None


def _withdrawn(before: AgentTenant, now: AgentTenant) -> bool:
    """Whether a tenant lost something that a request under way may be using."""
    old, new = before.spec.provider, now.spec.provider
    moved = (old.base_url, old.credential_secret_ref) != (new.base_url, new.credential_secret_ref)
    return moved or not set(old.models) <= set(new.models)


def peer_of(request: web.Request) -> str:
    """The address of the connection's other end. Never a header: whoever calls writes those."""
    if request.transport is None:
        return ""
    return normal_address(request.transport.get_extra_info("peername")[0])


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of a request; the CLI sends the same one in both headers."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or None
