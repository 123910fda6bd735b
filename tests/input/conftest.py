"""An API server that serves our kinds, and somebody who asks it."""

from collections.abc import AsyncIterator

import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from tests.sessions.inprocess import serve_kinds

from .asking import Asker


@pytest.fixture
async def asker(api: ApiClient, connection: Connection, namespace: str) -> AsyncIterator[Asker]:
    await serve_kinds(api)
    async with connection.open() as http:
        yield Asker(connection.server, http, namespace)
