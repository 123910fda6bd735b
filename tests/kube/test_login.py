"""kopf watches through our session."""

import asyncio

import kopf
import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.login import kopf_credentials
from agentsession.kube.resource import CONFIGMAPS
from tests.kube.eventually import eventually

pytestmark = pytest.mark.apiserver


async def test_kopf_sees_events_through_our_session(connection: Connection, api: ApiClient, namespace: str) -> None:
    seen: set[str] = set()
    registry = kopf.OperatorRegistry()
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    ready, stop = asyncio.Event(), asyncio.Event()
    session = connection.open()

    @kopf.on.login(registry=registry)
    async def login(**_: object) -> kopf.AiohttpSession:
        return kopf_credentials(connection, session)

    @kopf.on.event("configmaps", registry=registry)
    async def observe(name: str, **_: object) -> None:
        seen.add(name)

    operator = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            namespaces=[namespace],
            ready_flag=ready,
            stop_flag=stop,
        )
    )
    await eventually(ready.is_set)
    await api.create(
        CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "a"}}
    )
    await eventually(lambda: "a" in seen)
    stop.set()
    await operator
    assert session.closed, "kopf closes it when it ends"
