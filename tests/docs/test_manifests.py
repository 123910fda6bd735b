"""The API server takes every manifest that people are shown: CEL rules and defaults are its own."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentsession.api.schema import crds
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.resource import Resource
from tests.docs.pages import GUIDES, ROOT
from tests.kube.kinds import BY_KIND, CRDS

pytestmark = pytest.mark.apiserver


def example(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


SHOWN = {page.name: [document for document in page.documents() if "kind" in document] for page in GUIDES} | {
    path.name: example(path) for path in sorted((ROOT / "manifests" / "examples").glob("*.yaml"))
}


@pytest.mark.parametrize("source", SHOWN)
async def test_is_taken(api: ApiClient, namespace: str, source: str) -> None:
    for crd in crds():
        await api.apply(CRDS, crd)
    for number, document in enumerate(SHOWN[source]):  # a page shows the same name in several namespaces
        name = f"{document['metadata']['name']}-{number}"
        placed = {**document, "metadata": {**document["metadata"], "namespace": namespace, "name": name}}
        await _create_once_served(api, BY_KIND[document["kind"]], placed)


async def _create_once_served(api: ApiClient, resource: Resource, body: dict[str, Any]) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await api.create(resource, body)
            except NotFoundError:
                continue
            return
