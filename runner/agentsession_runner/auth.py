"""Whose calls a runner answers: only the control side's, each with a token for this pod, this session, this action."""

import asyncio
import json
import time
from collections.abc import Callable

import aiohttp
import jwt
from pydantic import ValidationError

from .errors import RefusedError
from .protocol import CALL_AUDIENCE, Action, Wire

REFETCH_AFTER = 1.0
"""Seconds between two fetches of the keys, whoever asks: an unknown key id must not become a flood."""
TIMEOUT = aiohttp.ClientTimeout(total=5)


class Call(Wire):
    """The claims of a call token."""

    pod_uid: str
    slot: int
    session_uid: str
    action: Action


class KeySource:
    """The control side's public keys, as the egress plane publishes them."""

    def __init__(
        self, http: aiohttp.ClientSession, egress_url: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._http = http
        self._monotonic = monotonic
        self._url = f"{egress_url}/v1/keys"
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()

    async def key(self, kid: str) -> jwt.PyJWK:
        """The key with that id, fetched if it is new. Raises RefusedError."""
        async with self._fetching:
            if kid not in self._keys and self._monotonic() - self._fetched > REFETCH_AFTER:
                self._fetched = self._monotonic()
                self._keys = await self._fetch()
        if kid not in self._keys:
            raise RefusedError(401, "the call token is signed with an unknown key")
        return self._keys[kid]

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        try:
            async with self._http.get(self._url, timeout=TIMEOUT, allow_redirects=False) as response:
                response.raise_for_status()
                document = json.loads(await response.read())
            return {key.key_id: key for key in jwt.PyJWKSet.from_dict(document).keys if key.key_id}
        except (aiohttp.ClientError, TimeoutError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise RefusedError(503, f"the keys that verify call tokens are not to be had from {self._url}") from error


class CallVerifier:
    """Checks the bearer tokens of calls to one pod."""

    def __init__(self, keys: KeySource, pod_uid: str) -> None:
        self._keys = keys
        self._pod_uid = pod_uid

    async def verify(self, authorization: str | None, action: Action) -> str:
        """The session UID that the caller may act on. Raises RefusedError, 401 or 403."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise RefusedError(401, "a call token is needed: Authorization: Bearer")
        call = await self._claims(token)
        if call.pod_uid != self._pod_uid or call.slot != 0:
            raise RefusedError(403, "the call token is for another pod")
        if call.action != action:
            raise RefusedError(403, f"the call token is for the action {call.action}, not {action}")
        return call.session_uid

    async def _claims(self, token: str) -> Call:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self._keys.key(str(kid))
            claims = jwt.decode(
                token, key, algorithms=["EdDSA"], audience=CALL_AUDIENCE, options={"require": ["aud", "exp"]}
            )
            return Call.model_validate(claims)
        except jwt.PyJWTError as error:
            raise RefusedError(401, f"the call token is not valid: {error}") from error
        except ValidationError:
            raise RefusedError(401, "the call token lacks a claim: pod_uid, slot, session_uid or action") from None
