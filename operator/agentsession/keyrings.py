"""The installation's signing keys: made at run time by the leading operator, rotated by it, never by Helm.

The operator's own keyring signs grants and calls. The egress plane's is made here too, since that plane may not write
to the API server; see docs/decisions.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from contextlib import suppress
from datetime import UTC, datetime

from agentsession.api.installation import Installation
from agentsession.keys.keyring import Keyring
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import CONFIGMAPS, SECRETS, Resource
from agentsession.kube.shards import Shard
from agentsession.resources.names import EGRESS_KEYS, OPERATOR_KEYS

FILE = "keys.json"
JWKS_FILE = "jwks.json"
WAIT = 1.0
"""Seconds between looks for a keyring that somebody else makes."""


async def keyring(api: ApiClient, install: Installation, shard: Shard) -> Keyring:
    """The operator's keyring for the leader of a shard. That of the first makes and rotates it, the others read it, and
    wait until there is one."""
    if shard.number == 0:
        return await ensure_keyrings(api, install)
    while True:
        with suppress(NotFoundError):
            return await _read(api, install, OPERATOR_KEYS)
        await asyncio.sleep(WAIT)


async def ensure_keyrings(api: ApiClient, install: Installation) -> Keyring:
    """The operator's keyring, rotated if it is old; also makes or rotates the egress plane's.

    A key is published before the keyring is returned, and signs nothing for a while: so everybody knows it by then.
    """
    await _ensure(api, install, EGRESS_KEYS)
    keyring = await _ensure(api, install, OPERATOR_KEYS)
    name = f"{install.name}-{OPERATOR_KEYS}"
    jwks = json.dumps(keyring.jwks(), sort_keys=True)
    await _apply(api, CONFIGMAPS, install, name, {"data": {JWKS_FILE: jwks}})
    return keyring


async def _ensure(api: ApiClient, install: Installation, suffix: str) -> Keyring:
    """The keyring of that Secret."""
    name = f"{install.name}-{suffix}"
    now = datetime.now(UTC)
    try:
        before = await _read(api, install, suffix)
        keyring = before.rotated(now)
    except NotFoundError:
        before, keyring = None, Keyring.generate(now)
    if keyring is not before:
        await _apply(api, SECRETS, install, name, {"data": {FILE: b64encode(keyring.dump().encode()).decode()}})
    return keyring


async def _read(api: ApiClient, install: Installation, suffix: str) -> Keyring:
    secret = await api.get(SECRETS, (install.namespace, f"{install.name}-{suffix}"))
    return Keyring.load(b64decode(secret["data"][FILE]).decode())


async def _apply(api: ApiClient, resource: Resource, install: Installation, name: str, content: KubeObject) -> None:
    body = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": install.namespace},
        **content,
    }
    await api.apply(resource, body)
