"""Asks a real API server what it would do with an object, with strict validation as kubectl has it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from agentsession.api.base import API_VERSION
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS, Resource

KINDS = {resource.kind: resource for resource in (AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS)}


@dataclass(frozen=True)
class Answer:
    """message: of the refusal. made: the object as it would be stored, defaults filled in."""

    admitted: bool
    message: str
    made: Mapping[str, Any]


@dataclass(frozen=True)
class Asker:
    """One namespace of one API server."""

    server: str
    http: aiohttp.ClientSession
    namespace: str

    async def create(self, resource: Resource, text: str) -> Answer:
        """Try to create what `text` says; it is YAML, read by the server."""
        return await self._send("POST", resource.collection(self.namespace), text, "application/yaml")

    async def apply(self, resource: Resource, name: str, text: str, *, keep: bool = False) -> Answer:
        """Server-side apply of what `text` says. Only tried, unless it is to be kept."""
        path = resource.path((self.namespace, name))
        return await self._send("PATCH", path, text, "application/apply-patch+yaml", keep=keep)

    async def spec(self, kind: str, spec: object) -> Answer:
        """What would become of an object with that spec."""
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "x"}, "spec": spec}
        return await self._send("POST", KINDS[kind].collection(self.namespace), json.dumps(body), "application/json")

    async def _send(self, method: str, path: str, text: str, content: str, *, keep: bool = False) -> Answer:
        params = {"fieldValidation": "Strict", "fieldManager": "tests", **({} if keep else {"dryRun": "All"})}
        headers = {"Content-Type": content, "Accept": "application/json"}
        url = self.server + path
        async with self.http.request(method, url, params=params, headers=headers, data=text.encode()) as response:
            body = await response.text()
            made = json.loads(body) if response.content_type == "application/json" else {"message": body}
            return Answer(response.status < 300, "" if response.status < 300 else made["message"], made)
