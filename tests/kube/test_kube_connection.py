"""The token that goes with each request, against a server on loopback that checks it."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from kubernetes.config import incluster_config

from agentsession.kube import connection
from agentsession.kube.connection import Connection
from devcluster import pki

pytestmark = pytest.mark.unit


class Tokens:
    """A token file that counts how often it is read, and a server that accepts one token."""

    def __init__(self) -> None:
        self.content = self.accepted = "Bearer first"
        self.reads = 0
        self.refused = 0

    def read(self) -> str:
        self.reads += 1
        return self.content

    async def serve(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == self.accepted:
            return web.Response(text=await request.text())
        self.refused += 1
        return web.Response(status=401)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
async def server(tokens: Tokens) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", tokens.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/"
    await runner.cleanup()


@pytest.fixture
async def session(tokens: Tokens) -> AsyncIterator[aiohttp.ClientSession]:
    async with Connection("http://unused", None, tokens.read).open() as opened:
        yield opened


async def ask(session: aiohttp.ClientSession, server: str) -> tuple[int, str]:
    async with session.post(server, data=b"body") as response:
        return response.status, await response.text()


async def test_the_token_is_read_once_for_many_requests(
    tokens: Tokens, server: str, session: aiohttp.ClientSession
) -> None:
    assert [await ask(session, server) for _ in range(3)] == [(200, "body")] * 3
    assert tokens.reads == 1


async def test_a_rotated_token_is_read_when_the_old_one_is_old(
    tokens: Tokens, server: str, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(session, server)
    tokens.content = tokens.accepted = "Bearer second"
    monkeypatch.setattr(connection, "TOKEN_MAX_AGE", 0.0)
    assert await ask(session, server) == (200, "body")
    assert tokens.refused == 0


async def test_a_refused_token_is_read_again_at_once_and_the_request_repeated(
    tokens: Tokens, server: str, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(session, server)
    tokens.content = tokens.accepted = "Bearer second"
    monkeypatch.setattr(connection, "TOKEN_MIN_AGE", 0.0)
    assert await ask(session, server) == (200, "body")
    assert (tokens.refused, tokens.reads) == (1, 2)


async def test_a_token_that_is_wrong_is_not_tried_for_ever(
    tokens: Tokens, server: str, session: aiohttp.ClientSession
) -> None:
    tokens.accepted = "Bearer of somebody else"
    assert (await ask(session, server))[0] == 401
    assert tokens.refused == 1


def test_a_pod_uses_its_service_account_and_sees_a_rotated_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki.create(tmp_path / "pki")
    token = tmp_path / "token"
    token.write_text("first\n")
    for module in (connection, incluster_config):
        monkeypatch.setattr(module, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "pki" / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    made = Connection.load()
    assert made.server == "https://[fd00::1]:443"
    assert made.tls is not None
    assert made.tls.verify_mode is ssl.CERT_REQUIRED
    assert made.read_authorization() == "Bearer first"
    token.write_text("second\n")
    assert made.read_authorization() == "Bearer second"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_kubeconfig_is_read(tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(
        f"""
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{scheme}://127.0.0.1:1/", insecure-skip-tls-verify: true}}}}]
users: [{{name: u, user: {{token: secret}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
    )
    made = Connection.from_kubeconfig(str(file))
    assert made.server == f"{scheme}://127.0.0.1:1"
    assert made.read_authorization() == "Bearer secret"
    assert (made.tls is None) is (scheme == "http")
