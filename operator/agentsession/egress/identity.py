"""Identities: a pod proves itself once with its projected service account token, and renews with what it got.

An identity says who connects from an address, nothing about what that pod may do: that is the grant's to say.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import jwt
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentsession.keys.identity import Identity
from agentsession.keys.keyring import InvalidTokenError, Keyring
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError
from agentsession.kube.resource import PODS, TOKENREVIEWS
from agentsession.resources.names import RUNNER_SERVICE_ACCOUNT
from agentsession_runner import logs
from agentsession_runner.protocol import IDENTITY_AUDIENCE

from . import metrics
from .admission import Unseen
from .audit import audit
from .gate import Gate, bearer, peer_of
from .refusal import Refusal, unavailable
from .refusals import Refusals

ROUTE = "/v1/identity"
MAX_BODY_BYTES = 1024
BODY_SECONDS = 5.0
REVIEWS_AT_ONCE = 16
PAUSE_SECONDS = 1.0
"""After a failed exchange, how long its address must wait: a runner may not load the API server with reviews."""

log = logging.getLogger(__name__)


class IdentityRequest(BaseModel):
    """What a runner asks for."""

    slot: Literal[0] = 0


class IdentityResponse(BaseModel):
    """What it gets."""

    token: str
    expires_at: datetime


class _User(BaseModel):
    model_config = ConfigDict(extra="ignore")
    username: str = ""
    extra: dict[str, list[str]] = {}


class ReviewStatus(BaseModel):
    """The part of authentication.k8s.io/v1 TokenReviewStatus that is read."""

    model_config = ConfigDict(extra="ignore")
    authenticated: bool = False
    audiences: list[str] = []
    user: _User = Field(default_factory=_User)


def reviewed(status: ReviewStatus, peer: str) -> Identity | Refusal:
    """Whom the API server vouches for: a runner's pod, by a token that was made for the egress plane."""
    if not status.authenticated or IDENTITY_AUDIENCE not in status.audiences:
        return _unknown("the API server does not accept this service account token for the egress plane")
    namespace = status.user.username.removeprefix("system:serviceaccount:").partition(":")[0]
    if status.user.username != f"system:serviceaccount:{namespace}:{RUNNER_SERVICE_ACCOUNT}":
        return _forbidden(f"only pods of the service account {RUNNER_SERVICE_ACCOUNT} get an identity")
    uid = _only(status.user.extra, "authentication.kubernetes.io/pod-uid")
    pod = _only(status.user.extra, "authentication.kubernetes.io/pod-name")
    if not uid or not pod:
        return _forbidden("this service account token is not bound to a pod")
    return Identity(pod_uid=uid, pod_name=pod, namespace=namespace, address=peer)


def is_service_account_token(token: str) -> bool:
    """Whether it looks like one that was made for us. No proof of anything: it decides which check comes next."""
    try:
        audience = jwt.decode(token, options={"verify_signature": False}).get("aud")
    except jwt.PyJWTError:
        return False
    return audience == IDENTITY_AUDIENCE or (isinstance(audience, list) and IDENTITY_AUDIENCE in audience)


@dataclass
class TokenReviewer:
    """Asks the API server about service account tokens."""

    api: ApiClient
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(REVIEWS_AT_ONCE))

    async def __call__(self, token: str) -> ReviewStatus:
        """What the API server says of `token`. Raises ApiError."""
        review = {
            "apiVersion": TOKENREVIEWS.api_version,
            "kind": TOKENREVIEWS.kind,
            "metadata": {},
            "spec": {"token": token, "audiences": [IDENTITY_AUDIENCE]},
        }
        async with self._slots:
            answer = await self.api.create(TOKENREVIEWS, review)
        return ReviewStatus.model_validate(answer.get("status", {}))


@dataclass
class IdentityRoute:
    """Hands out identities."""

    review: Callable[[str], Awaitable[ReviewStatus]]
    """Has the API server judge a service account token; raises ApiError."""
    gate: Gate
    refusals: Refusals
    _paused: dict[str, float] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.Response:
        """POST /v1/identity."""
        logs.about()
        peer = peer_of(request)
        result = await self._exchange(request, peer)
        if isinstance(result, Refusal):
            return await self.refusals.answer(result, ROUTE, peer)
        identity, granted = result
        who = {"namespace": identity.namespace, "pod": identity.pod_name, "pod_uid": identity.pod_uid}
        audit("exchange", peer=peer, session=self._session(identity), **who)
        metrics.count_request(ROUTE, "ok")
        return web.json_response(text=granted.model_dump_json())

    def _session(self, identity: Identity) -> str | None:
        """The session that the pod serves, if it serves one yet: for the audit only."""
        directory = self.gate.directory
        pod = directory.pods.by_uid(identity.pod_uid)
        try:
            grant = directory.grant(pod) if pod else None
        except InvalidTokenError:
            return None
        return grant.session_uid if grant else None

    async def _exchange(self, request: web.Request, peer: str) -> tuple[Identity, IdentityResponse] | Refusal:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.clone(client_max_size=MAX_BODY_BYTES).read()
            IdentityRequest.model_validate_json(body or b"{}")
        except (ValidationError, web.HTTPRequestEntityTooLarge, TimeoutError):
            return Refusal(400, "invalid_request_error", 'the body must be {"slot": 0}')
        keyring = self.gate.keyring()
        token = bearer(request.headers)
        if keyring is None or not self.gate.fresh():
            return unavailable("the egress plane has no recent view of the cluster")
        if token is not None and is_service_account_token(token):
            identity = await self._review(token, peer)
        else:
            identity = self.gate.identify(request)
        if isinstance(identity, Refusal):
            return identity
        return await self._at_its_pod(identity, peer) or _issue(identity, keyring)

    async def _review(self, token: str, peer: str) -> Identity | Refusal:
        now = asyncio.get_running_loop().time()
        self._paused = {address: until for address, until in self._paused.items() if until > now}
        if peer in self._paused:
            return Refusal(429, "rate_limit_error", "the last exchange from this address failed a moment ago", 1)
        self._paused[peer] = now + PAUSE_SECONDS
        try:
            status = await self.review(token)
        except ApiError as error:
            log.warning("TokenReview: %s", error)
            return unavailable("the API server could not review the token")
        identity = reviewed(status, peer)
        if isinstance(identity, Identity):
            self._paused.pop(peer, None)
        return identity

    async def _at_its_pod(self, identity: Identity, peer: str) -> Refusal | None:
        """Why the pod may not have an identity for that address.

        A pod whose address the API server does not know yet may: the kubelet reports it up to a second late, and an
        identity for an address that turns out not to be the pod's is worthless.
        """
        if identity.address != peer:
            return _forbidden(f"this identity was issued to another address than {peer}")
        missing = _forbidden(f"pod {identity.namespace}/{identity.pod_name} does not exist, or is no runner")
        pods = self.gate.directory.pods
        pod = pods.by_uid(identity.pod_uid)
        if pod is None and await self.gate.look(Unseen(PODS, (identity.namespace, identity.pod_name), missing)):
            pod = pods.by_uid(identity.pod_uid)
        if pod is None:
            return missing
        if pod.ending:
            return _forbidden("the pod is ending")
        if pod.addresses and peer not in pod.addresses:
            return _forbidden(f"the pod's address is {pod.addresses[0]}, and this connection comes from {peer}")
        return None


def _issue(identity: Identity, keyring: Keyring) -> tuple[Identity, IdentityResponse]:
    token, expires = identity.sign(keyring, datetime.now(UTC))
    return identity, IdentityResponse(token=token, expires_at=expires)


def _only(extra: dict[str, list[str]], name: str) -> str:
    values = extra.get(name, [])
    return values[0] if len(values) == 1 else ""


def _unknown(message: str) -> Refusal:
    return Refusal(401, "authentication_error", message)


def _forbidden(message: str) -> Refusal:
    return Refusal(403, "permission_error", message)
