"""Keys: what one signs another verifies, through rotations, and nothing else passes."""

import base64
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentsession.keys.call import USAGE_AUDIENCE, runner_call, usage_call
from agentsession.keys.grant import Grant, verify_grant
from agentsession.keys.identity import Identity, verify_identity
from agentsession.keys.keyring import ROTATE_AFTER, SPREAD, InvalidTokenError, Keyring, verify
from agentsession_runner.protocol import CALL_AUDIENCE

pytestmark = pytest.mark.unit

NOW = datetime.now(UTC)
KEYRING = Keyring.generate(NOW)
GRANT = Grant(pod_uid="p", session_uid="s", session_name="n", namespace="ns", tenant="default", tenant_uid="t", epoch=3)


def test_a_young_key_is_kept() -> None:
    assert KEYRING.rotated(NOW + ROTATE_AFTER - timedelta(seconds=1)) is KEYRING


def test_after_a_rotation_the_previous_key_still_verifies_and_the_one_before_does_not() -> None:
    born = NOW - 3 * ROTATE_AFTER
    never = Keyring.generate(born)
    once = never.rotated(born + ROTATE_AFTER)
    twice = once.rotated(born + 2 * ROTATE_AFTER)
    first, second, third = (keyring.sign({"aud": "a"}) for keyring in (never, once, twice))
    assert verify(first, once.jwks(), "a") == verify(second, twice.jwks(), "a") == {"aud": "a"}
    assert verify(third, twice.jwks(), "a") == {"aud": "a"}
    assert len(twice.keys) == 2
    with pytest.raises(InvalidTokenError, match="unknown key"):
        verify(first, twice.jwks(), "a")


def test_a_new_key_is_published_before_it_signs() -> None:
    rotation = NOW + ROTATE_AFTER
    rotated = KEYRING.rotated(rotation)
    new, old = rotated.keys
    assert old == KEYRING.keys[0]
    assert rotated.current(rotation) == rotated.current(rotation + SPREAD - timedelta(seconds=1)) == old
    assert rotated.current(rotation + SPREAD) == new
    assert [key["kid"] for key in rotated.jwks()["keys"]] == [new.kid, old.kid]


def test_who_has_read_the_keys_a_moment_ago_accepts_what_is_signed_now() -> None:
    """The attack on availability: with the new key alone, whoever reads a little later refuses."""
    before = Keyring.generate(datetime.now(UTC) - ROTATE_AFTER)
    after = before.rotated(datetime.now(UTC))
    with pytest.raises(InvalidTokenError):
        verify(Keyring(after.keys[:1]).sign({"aud": "a"}), before.jwks(), "a")
    assert verify(after.sign({"aud": "a"}), before.jwks(), "a")


def test_a_key_that_is_alone_signs_at_once() -> None:
    alone = Keyring.generate(NOW)
    assert jwt.get_unverified_header(alone.sign({"aud": "a"}))["kid"] == alone.keys[0].kid


def test_a_keyring_survives_its_secret() -> None:
    rotated = KEYRING.rotated(NOW + ROTATE_AFTER)
    loaded = Keyring.load(rotated.dump())
    assert [(key.kid, key.created) for key in loaded.keys] == [(key.kid, key.created) for key in rotated.keys]
    assert verify(loaded.sign({"aud": "a"}), rotated.jwks(), "a")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", json.dumps([{"kid": "x", "created": NOW.isoformat(), "jwk": {}}])],
    ids=["empty", "no key", "no JSON", "no private key"],
)
def test_what_is_no_keyring_is_not_loaded(text: str) -> None:
    with pytest.raises((ValueError, jwt.PyJWTError)):
        Keyring.load(text)


def test_a_public_key_has_no_private_half() -> None:
    assert {name for key in KEYRING.jwks()["keys"] for name in key} == {"kty", "crv", "x", "kid", "alg", "use"}


def _foreign(claims: dict[str, object], *, algorithm: str = "EdDSA", kid: str = KEYRING.keys[0].kid) -> str:
    key = Ed25519PrivateKey.generate() if algorithm == "EdDSA" else "secret" * 8
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def _unsigned() -> str:
    def part(value: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'kid': KEYRING.keys[0].kid})}.{part({'aud': 'a'})}."


def _with_public_key_as_secret() -> str:
    """The classic confusion: the public key taken as the secret of an HMAC."""
    return _foreign({"aud": "a"}, algorithm="HS256")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="three parts"),
        pytest.param("\x00", id="a null character"),
        pytest.param("é.é.é", id="no ASCII"),
        pytest.param(_foreign({"aud": "a"}), id="foreign key"),
        pytest.param(_foreign({"aud": "a"}, kid="another"), id="foreign key's name"),
        pytest.param(_with_public_key_as_secret(), id="public key as secret"),
        pytest.param(_unsigned(), id="unsigned"),
        pytest.param(KEYRING.sign({"aud": "b"}), id="other audience"),
        pytest.param(KEYRING.sign({}), id="no audience"),
        pytest.param(KEYRING.sign({"aud": "a", "exp": 1}), id="expired"),
        pytest.param(KEYRING.sign({"aud": "a"})[:-4] + "AAAA", id="other signature"),
    ],
)
def test_what_was_not_signed_for_this_is_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        verify(token, KEYRING.jwks(), "a")


def test_a_required_claim_must_be_there() -> None:
    with pytest.raises(InvalidTokenError, match="exp"):
        verify(KEYRING.sign({"aud": "a"}), KEYRING.jwks(), "a", required=("exp",))


def test_a_grant_says_who_serves_whom() -> None:
    assert verify_grant(GRANT.sign(KEYRING), KEYRING.jwks()) == GRANT


def test_no_token_passes_for_another_kind() -> None:
    identity = Identity(pod_uid="p", pod_name="n", namespace="ns", address="10.0.0.9")
    now = datetime.now(UTC)
    tokens = {
        "grant": GRANT.sign(KEYRING),
        "identity": identity.sign(KEYRING, now)[0],
        "call": runner_call(KEYRING, now, pod_uid="p", session_uid="s", action="bind"),
        "usage": usage_call(KEYRING, now),
    }
    jwks = KEYRING.jwks()
    for kind, token in tokens.items():
        passed = {
            "grant": _passes(lambda token=token: verify_grant(token, jwks)),
            "identity": _passes(lambda token=token: verify_identity(token, jwks)),
            "call": _passes(lambda token=token: verify(token, jwks, CALL_AUDIENCE)),
            "usage": _passes(lambda token=token: verify(token, jwks, USAGE_AUDIENCE)),
        }
        assert passed == {other: other == kind for other in tokens}


def _passes(check: object) -> bool:
    assert callable(check)
    try:
        check()
    except InvalidTokenError:
        return False
    return True


def test_calls_and_identities_expire() -> None:
    then = NOW - timedelta(hours=2)
    identity, expires = Identity(pod_uid="p", pod_name="n", namespace="ns", address="10.0.0.9").sign(KEYRING, then)
    assert expires < NOW
    with pytest.raises(InvalidTokenError):
        verify_identity(identity, KEYRING.jwks())
    with pytest.raises(InvalidTokenError):
        verify(usage_call(KEYRING, then), KEYRING.jwks(), USAGE_AUDIENCE)
