"""Whose calls a runner answers."""

from datetime import timedelta

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentsession.keys.call import USAGE_AUDIENCE, runner_call
from agentsession.keys.keyring import SPREAD, Keyring, SigningKey
from agentsession_runner.auth import CallVerifier, KeySource
from agentsession_runner.errors import RefusedError
from tests.runner.harness import POD_UID, SESSION_UID, Egress, now

pytestmark = pytest.mark.unit

CLAIMS: dict[str, object] = {
    "aud": "agentsession/call",
    "exp": int((now() + timedelta(minutes=10)).timestamp()),
    "pod_uid": POD_UID,
    "slot": 0,
    "session_uid": SESSION_UID,
    "action": "prompt",
}


async def verify(egress: Egress, token: str | None, action: str = "prompt") -> str:
    async with aiohttp.ClientSession() as http:
        verifier = CallVerifier(KeySource(http, egress.url), POD_UID)
        return await verifier.verify(token, action)  # type: ignore[arg-type]


async def test_the_control_sides_own_tokens_are_accepted(egress: Egress) -> None:
    token = runner_call(egress.keyring, now(), pod_uid=POD_UID, session_uid=SESSION_UID, action="prompt")
    assert await verify(egress, f"Bearer {token}") == SESSION_UID


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"exp": int((now() - timedelta(seconds=5)).timestamp())}, 401, "expired"),
        ({"exp": None}, 401, "exp"),
        ({"aud": USAGE_AUDIENCE}, 401, "udience"),
        ({"aud": None}, 401, "aud"),
        ({"session_uid": None}, 401, "lacks a claim"),
        ({"action": "destroy"}, 401, "lacks a claim"),
        ({"pod_uid": "another"}, 403, "another pod"),
        ({"slot": 1}, 403, "another pod"),
        ({"action": "state"}, 403, "action state"),
    ],
)
async def test_refuses_what_a_claim_does_not_allow(
    egress: Egress, changes: dict[str, object], status: int, says: str
) -> None:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    with pytest.raises(RefusedError, match=says) as refused:
        await verify(egress, f"Bearer {egress.keyring.sign(claims)}")
    assert refused.value.status == status


async def test_refuses_what_the_control_side_did_not_sign(egress: Egress) -> None:
    (kid,) = (key.kid for key in egress.keyring.keys)
    stranger = Ed25519PrivateKey.generate()
    forgeries = {
        "another's signature under a known key id": jwt.encode(CLAIMS, stranger, "EdDSA", headers={"kid": kid}),
        "another's key": Keyring.generate(now()).sign(CLAIMS),
        "no key id": jwt.encode(CLAIMS, stranger, "EdDSA"),
        "no signature": jwt.encode(CLAIMS, "", "none", headers={"kid": kid}),
        "the public key as an HMAC secret": jwt.encode(
            CLAIMS, egress.keyring.jwks()["keys"][0]["x"], "HS256", headers={"kid": kid}
        ),
        "no token": "nonsense",
    }
    for name, token in forgeries.items():
        with pytest.raises(RefusedError) as refused:
            await verify(egress, f"Bearer {token}")
        assert refused.value.status == 401, name


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dTpw"])
async def test_refuses_a_call_without_a_token(egress: Egress, header: str | None) -> None:
    with pytest.raises(RefusedError, match="call token is needed"):
        await verify(egress, header)


async def test_a_new_key_is_fetched_and_unknown_ones_are_no_flood(egress: Egress) -> None:
    clock = 100.0
    async with aiohttp.ClientSession() as http:
        verifier = CallVerifier(KeySource(http, egress.url, lambda: clock), POD_UID)

        async def accepted(token: str) -> bool:
            try:
                return await verifier.verify(f"Bearer {token}", "prompt") == SESSION_UID
            except RefusedError:
                return False

        assert await accepted(egress.keyring.sign(CLAIMS))
        egress.keyring = Keyring((SigningKey.generate(now() - SPREAD), *egress.keyring.keys))
        for _ in range(5):
            assert not await accepted(egress.keyring.sign(CLAIMS))
        assert egress.key_fetches == 1
        clock += 2
        assert await accepted(egress.keyring.sign(CLAIMS))
        assert egress.key_fetches == 2


async def test_says_when_the_keys_cannot_be_had() -> None:
    token = Keyring.generate(now()).sign(CLAIMS)
    async with aiohttp.ClientSession() as http:
        verifier = CallVerifier(KeySource(http, "http://127.0.0.1:1"), POD_UID)
        with pytest.raises(RefusedError, match=r"127\.0\.0\.1:1/v1/keys") as refused:
            await verifier.verify(f"Bearer {token}", "prompt")
    assert refused.value.status == 503
