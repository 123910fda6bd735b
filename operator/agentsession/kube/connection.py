"""Where the API server is and who we are: a service account in a pod, else the current kubeconfig context.

Every HTTP session made here sends a token that is re-read while the process lives, so a rotated service account token
needs no new login and breaks no stream.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType, ClientMiddlewareType
from kubernetes import config
from kubernetes.client import Configuration
from kubernetes.config.incluster_config import SERVICE_TOKEN_FILENAME

TOKEN_MAX_AGE = 60.0
"""Seconds after which the token is read again. The kubelet renews it at 80 % of its life, minutes before it ends."""
TOKEN_MIN_AGE = 1.0
"""Seconds in which a refused token is not read again."""
CONNECTIONS = 100
"""Sockets per session: one per watch, the rest for requests."""


@dataclass(frozen=True)
class Connection:
    """Everything needed to open HTTP sessions to one API server, from any thread.

    read_authorization: the value of the Authorization header, or None; may block (a file, a credential plugin).
    """

    server: str
    tls: ssl.SSLContext | None
    read_authorization: Callable[[], str | None]
    proxy: str | None = None

    @classmethod
    def load(cls) -> "Connection":
        """The service account of this pod, else KUBECONFIG or ~/.kube/config. Raises ConfigException."""
        configuration = Configuration()
        try:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return cls._from_kubeconfig(configuration)
        return cls(
            configuration.host,
            _tls(configuration),
            lambda: f"Bearer {Path(SERVICE_TOKEN_FILENAME).read_text().strip()}",
        )

    @classmethod
    def from_kubeconfig(cls, path: str) -> "Connection":
        """The current context of that file. Raises ConfigException."""
        configuration = Configuration()
        config.load_kube_config(path, client_configuration=configuration)  # type: ignore[no-untyped-call]
        return cls._from_kubeconfig(configuration)

    @classmethod
    def _from_kubeconfig(cls, configuration: Configuration) -> "Connection":
        return cls(
            server=configuration.host.rstrip("/"),
            tls=_tls(configuration),
            read_authorization=lambda: configuration.get_api_key_with_prefix("BearerToken"),
            proxy=configuration.proxy,
        )

    def open(self) -> aiohttp.ClientSession:
        """A new session that belongs to the running event loop. The caller closes it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self.tls or True),
            middlewares=(authorization(self.read_authorization),),
            proxy=self.proxy,
        )


def _tls(configuration: Configuration) -> ssl.SSLContext | None:
    if not configuration.host.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def authorization(read: Callable[[], str | None]) -> ClientMiddlewareType:
    """A client middleware that sets a fresh Authorization header on each request.

    A 401 is answered once with a token read anew: kopf would otherwise log in again, which closes the session and with
    it every stream of the process.
    """
    value: str | None = None
    read_at = float("-inf")
    lock = asyncio.Lock()

    async def refresh(max_age: float) -> None:
        nonlocal value, read_at
        async with lock:
            if time.monotonic() - read_at >= max_age:
                value = await asyncio.to_thread(read)
                read_at = time.monotonic()

    async def middleware(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        if time.monotonic() - read_at >= TOKEN_MAX_AGE:
            await refresh(TOKEN_MAX_AGE)
        sent = value
        _set(request, sent)
        response = await handler(request)
        if response.status != 401:
            return response
        await refresh(TOKEN_MIN_AGE)
        if value == sent:
            return response
        response.release()
        _set(request, value)
        return await handler(request)

    return middleware


def _set(request: aiohttp.ClientRequest, value: str | None) -> None:
    if value is not None:
        request.headers["Authorization"] = value
