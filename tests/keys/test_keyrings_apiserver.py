"""The installation's keyrings, as the leading operator makes, publishes and rotates them."""

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest

from agentsession.api.installation import Installation
from agentsession.keyrings import ensure_keyrings
from agentsession.keys.keyring import ROTATE_AFTER, SPREAD, Keyring, SigningKey, verify
from agentsession.kube.client import ApiClient
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import CONFIGMAPS, SECRETS
from tests.sessions.build import INSTALL

pytestmark = pytest.mark.apiserver


@pytest.fixture
def install(namespace: str) -> Installation:
    return INSTALL.model_copy(update={"namespace": namespace})


async def _secret(api: ApiClient, install: Installation, name: str) -> KubeObject:
    return await api.get(SECRETS, (install.namespace, f"{install.name}-{name}"))


async def _keyring(api: ApiClient, install: Installation, name: str) -> Keyring:
    secret = await _secret(api, install, name)
    return Keyring.load(b64decode(secret["data"]["keys.json"]).decode())


async def _age(api: ApiClient, install: Installation, name: str) -> None:
    """Make a keyring so old that it is due."""
    young = await _keyring(api, install, name)
    old = Keyring(
        tuple(SigningKey(key.kid, key.created - ROTATE_AFTER - timedelta(days=1), key.private) for key in young.keys)
    )
    data = {"keys.json": b64encode(old.dump().encode()).decode()}
    await api.merge_patch(SECRETS, (install.namespace, f"{install.name}-{name}"), {"data": data})


async def test_they_are_made_published_and_then_kept(api: ApiClient, install: Installation) -> None:
    made = await ensure_keyrings(api, install)
    published = await api.get(CONFIGMAPS, (install.namespace, f"{install.name}-operator-keys"))
    assert json.loads(published["data"]["jwks.json"]) == made.jwks()
    assert "PRIVATE" not in str(published)
    assert '"d"' not in published["data"]["jwks.json"]
    egress = await _keyring(api, install, "egress-keys")
    assert egress.keys[0].kid != made.keys[0].kid
    version = (await _secret(api, install, "operator-keys"))["metadata"]["resourceVersion"]
    again = await ensure_keyrings(api, install)
    assert again.keys[0].kid == made.keys[0].kid
    assert (await _secret(api, install, "operator-keys"))["metadata"]["resourceVersion"] == version


async def test_old_keys_are_rotated_and_everybody_knows_before_they_are_used(
    api: ApiClient, install: Installation
) -> None:
    first = await ensure_keyrings(api, install)
    token = first.sign({"aud": "a"})
    await _age(api, install, "operator-keys")
    await _age(api, install, "egress-keys")
    before = await _keyring(api, install, "egress-keys")
    rotated = await ensure_keyrings(api, install)
    published = await api.get(CONFIGMAPS, (install.namespace, f"{install.name}-operator-keys"))
    assert len(json.loads(published["data"]["jwks.json"])["keys"]) == 2
    for keyring in (rotated, await _keyring(api, install, "egress-keys")):
        assert keyring.current(datetime.now(UTC)) == keyring.keys[1], "it is only published yet"
        assert keyring.current(datetime.now(UTC) + SPREAD) == keyring.keys[0]
    assert rotated.keys[0].kid != first.keys[0].kid
    assert verify(token, rotated.jwks(), "a")
    egress = await _keyring(api, install, "egress-keys")
    assert [key.kid for key in egress.keys[1:]] == [before.keys[0].kid]
