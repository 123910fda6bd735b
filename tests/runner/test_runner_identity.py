"""The identity is renewed for as long as the runner lives."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from agentsession_runner.identity import ExchangeError, exchange, keep_renewed, read_token, write_token
from tests.runner.harness import Egress

pytestmark = pytest.mark.unit


async def test_renews_with_the_newest_token_and_after_failures(egress: Egress, tmp_path: Path) -> None:
    path = tmp_path / "token"
    egress.refusals = [web.Response(status=503, text="busy"), web.Response(status=200, text="nonsense")]
    async with aiohttp.ClientSession() as http:
        renewal = asyncio.create_task(keep_renewed(http, egress.url, path, "first", every=0.001))
        async with asyncio.timeout(5):
            while len(egress.identities) < 5:
                await asyncio.sleep(0.001)
        renewal.cancel()
        await asyncio.wait([renewal])
    assert egress.identities[:5] == ["first", "first", "first", "identity-3", "identity-4"]
    assert read_token(path) in ("identity-4", "identity-5")


def test_a_token_file_is_replaced_and_private(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.symlink_to(tmp_path / "elsewhere")
    path.with_name("token.new").symlink_to(tmp_path / "elsewhere")
    write_token(path, "secret")
    assert not (tmp_path / "elsewhere").exists()
    assert (path.read_text(), path.is_symlink(), path.stat().st_mode & 0o777) == ("secret", False, 0o600)


async def test_a_refusal_says_which_address_and_why(egress: Egress) -> None:
    egress.refusals = [web.json_response({"error": {"message": "pod is\ngone"}}, status=403), web.Response(status=500)]
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ExchangeError, match=f"{egress.url}/v1/identity answered 403: pod is gone"):
            await exchange(http, egress.url, "token")
        with pytest.raises(ExchangeError, match="answered 500: no reason given"):
            await exchange(http, egress.url, "token")
        with pytest.raises(ExchangeError, match=r"127\.0\.0\.1:1"):
            await exchange(http, "http://127.0.0.1:1", "token")
