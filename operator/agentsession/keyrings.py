"""The installation's signing keys: made at run time by the leading operator, rotated by it, never by Helm.

The operator's own keyring signs grants and calls. The egress plane's is made here too, since that plane may not write
to the API server; see docs/decisions.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime

from agentsession.api.installation import Installation
from agentsession.keys.keyring import Keyring
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import CONFIGMAPS, SECRETS, Resource
from agentsession.resources.names import EGRESS_KEYS, OPERATOR_KEYS

FILE = "keys.json"
JWKS_FILE = "jwks.json"
SPREAD_SECONDS = 5.0
"""The egress plane reads the public keys every 2 s."""


async def ensure_keyrings(api: ApiClient, install: Installation) -> Keyring:
    """The operator's keyring, rotated if it is old; also makes or rotates the egress plane's.

    The public keys are published, and after a rotation read by everybody, before the keyring is returned: so nobody
    signs with a key that is not known.
    """
    await _ensure(api, install, EGRESS_KEYS)
    keyring, is_rotated = await _ensure(api, install, OPERATOR_KEYS)
    name = f"{install.name}-{OPERATOR_KEYS}"
    jwks = json.dumps(keyring.jwks(), sort_keys=True)
    await _apply(api, CONFIGMAPS, install, name, {"data": {JWKS_FILE: jwks}})
    if is_rotated:
        await asyncio.sleep(SPREAD_SECONDS)
    return keyring


async def _ensure(api: ApiClient, install: Installation, suffix: str) -> tuple[Keyring, bool]:
    """The keyring of that Secret, and whether it was rotated just now."""
    name = f"{install.name}-{suffix}"
    now = datetime.now(UTC)
    try:
        secret = await api.get(SECRETS, (install.namespace, name))
        before = Keyring.load(b64decode(secret["data"][FILE]).decode())
        keyring = before.rotated(now)
    except NotFoundError:
        before, keyring = None, Keyring.generate(now)
    if keyring is not before:
        await _apply(api, SECRETS, install, name, {"data": {FILE: b64encode(keyring.dump().encode()).decode()}})
    return keyring, before is not None and keyring is not before


async def _apply(api: ApiClient, resource: Resource, install: Installation, name: str, content: KubeObject) -> None:
    body = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": install.namespace},
        **content,
    }
    await api.apply(resource, body)
