"""The model route: a reverse proxy for the Messages API that adds the tenant's key and reads the usage as it passes.

Bodies go through as the bytes that they are, events as they come, errors of the provider unmodified.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
from aiohttp import web
from yarl import URL

from . import metrics
from .audit import audit
from .calls import Call, Calls
from .credentials import Credentials
from .gate import Admitted, Gate, peer_of
from .headers import downstream_headers, upstream_headers
from .ledger import Ledger
from .pricing import cost
from .refusal import Refusal, unavailable
from .screen import MESSAGES, Route, Screened, screen_body, screen_head
from .sse import SseError, SseParser
from .usage import Tokens, UsageReader

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
"""Longest silence of the provider; it is the CLI's own default, and pings come far more often."""
BODY_SECONDS = 60.0
"""Time to receive a request's body."""
LAST_WRITE_SECONDS = 1.0
"""Time for a client to take the event that ends its stream; then the connection is dropped."""

log = logging.getLogger(__name__)


def upstream_session() -> aiohttp.ClientSession:
    """The client of the providers: no proxy from the environment, no cookies, no decompression."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        auto_decompress=False,
        trust_env=False,
    )
