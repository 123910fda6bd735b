"""The pod's identity: what the egress plane knows it by.

The init container exchanges its projected service account token for it and leaves it in a file; the serving process
renews it there, and the CLI reads it through apiKeyHelper. The agent can read it too: it works from this pod only.
"""

import asyncio
import json
import logging
import os
from datetime import datetime
from pathlib import Path

import aiohttp
from pydantic import ValidationError

from .errors import UnfitError
from .protocol import EXIT_NO_IDENTITY, Wire
from .text import one_line

RENEW_EVERY = 600.0
"""Seconds; an identity lives an hour, so five renewals may fail before the agent notices."""
RETRY_RENEWAL = 15.0
RETRY_EXCHANGE = 0.5
TIMEOUT = aiohttp.ClientTimeout(total=5)

log = logging.getLogger(__name__)


class Issued(Wire):
    """The egress plane's answer."""

    token: str
    expires_at: datetime


class ExchangeError(Exception):
    """The egress plane gave no identity; one line says why."""


async def exchange(http: aiohttp.ClientSession, egress_url: str, credential: str) -> Issued:
    """Trade a service account token, or an identity that still works, for a new identity. Raises ExchangeError."""
    url = f"{egress_url}/v1/identity"
    headers = {"Authorization": f"Bearer {credential}"}
    try:
        async with http.post(
            url, json={"slot": 0}, headers=headers, timeout=TIMEOUT, allow_redirects=False
        ) as response:
            body = await response.read()
            if response.status != 200:
                raise ExchangeError(f"{url} answered {response.status}: {_reason(body)}")
            return Issued.model_validate_json(body)
    except ValidationError:
        raise ExchangeError(f"{url} answered 200 without an identity") from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ExchangeError(f"{url}: {str(error) or 'no answer'}") from error


def _reason(body: bytes) -> str:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
    return one_line(str(message), 200)


async def obtain(http: aiohttp.ClientSession, egress_url: str, credential: str, patience: float) -> Issued:
    """The first identity, asked for again and again for `patience` seconds. Raises UnfitError.

    A refusal is no reason to give up at once: a new pod runs before the API server, and so the egress plane's watch,
    knows its address.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            return await exchange(http, egress_url, credential)
        except ExchangeError as error:
            if loop.time() > deadline:
                raise UnfitError(EXIT_NO_IDENTITY, f"no identity after {patience:.0f} s: {error}") from error
        await asyncio.sleep(RETRY_EXCHANGE)


async def keep_renewed(
    http: aiohttp.ClientSession, egress_url: str, path: Path, token: str, every: float = RENEW_EVERY
) -> None:
    """Renew the identity `token` for ever, every `every` seconds, and leave each new one in `path`."""
    wait = every
    while True:
        await asyncio.sleep(wait)
        try:
            token = (await exchange(http, egress_url, token)).token
            write_token(path, token)
            wait = every
        except (ExchangeError, OSError) as error:
            log.warning("identity not renewed, trying again in %.0f s: %s", RETRY_RENEWAL, error)
            wait = min(RETRY_RENEWAL, every)


def read_token(path: Path) -> str:
    """The token that the init container left. Raises UnfitError."""
    try:
        return path.read_text()
    except OSError as error:
        raise UnfitError(EXIT_NO_IDENTITY, f"{path}: {error.strerror}; the init container leaves it there") from error


def write_token(path: Path, token: str) -> None:
    """Replace the file in one step: a reader sees the old token or the new one, never half of one."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    fresh.replace(path)
