"""The keys that this process works with, made by the leading operator: its own, and the operator's public ones."""

import asyncio
import base64
import logging
from dataclasses import dataclass

from pydantic import TypeAdapter

from agentsession.api.installation import Installation
from agentsession.keys.keyring import Jwks, Keyring
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError
from agentsession.kube.resource import CONFIGMAPS, SECRETS
from agentsession.resources.names import EGRESS_KEYS, OPERATOR_KEYS

from .directory import Directory

READ_SECONDS = 2.0
"""Two reads by name so often need no permission to list or watch Secrets."""

log = logging.getLogger(__name__)
_JWKS = TypeAdapter(Jwks)


@dataclass
class KeySource:
    """Reads the keys again and again, so that a rotation is noticed before anything is signed with a new key alone."""

    api: ApiClient
    installation: Installation
    directory: Directory
    keyring: Keyring | None = None

    async def keep_reading(self) -> None:
        """For ever. What cannot be read is logged and leaves the last keys in force."""
        last_problem = ""
        while True:
            try:
                await self._read()
                last_problem = ""
            except (ApiError, ValueError, KeyError) as error:
                if str(error) != last_problem:
                    log.warning("waiting for keys, which the leading operator makes: %s", error)
                last_problem = str(error)
            await asyncio.sleep(READ_SECONDS)

    async def _read(self) -> None:
        namespace, name = self.installation.namespace, self.installation.name
        published = await self.api.get(CONFIGMAPS, (namespace, f"{name}-{OPERATOR_KEYS}"))
        self.directory.trust(_JWKS.validate_json(published["data"]["jwks.json"]))
        own = await self.api.get(SECRETS, (namespace, f"{name}-{EGRESS_KEYS}"))
        self.keyring = Keyring.load(base64.b64decode(own["data"]["keys.json"]).decode())
