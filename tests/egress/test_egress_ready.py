"""Readiness: whether runners should be sent to this replica, and if not, why."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from agentsession.egress import process
from agentsession.egress.process import Plane
from agentsession.kube.client import ApiClient
from agentsession.kube.watch import Reflector

from . import build

pytestmark = pytest.mark.unit


@pytest.fixture
async def plane(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    """One that has everything: views, keys, and watches that were heard just now."""
    monkeypatch.setattr(Reflector, "silence", lambda _: 0.0)
    async with aiohttp.ClientSession() as http:
        made = Plane(build.installation("http://127.0.0.1:1"), ApiClient("http://127.0.0.1:1", http), http)
        for view in (made.directory.pods, made.directory.sessions, made.directory.tenants):
            view.store.replace((), "")
        made.directory.trust(build.OPERATOR.jwks())
        made.keys.keyring = build.EGRESS
        yield made


async def test_ready(plane: Plane) -> None:
    assert plane.not_ready() == ""


async def test_a_silent_watch(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reflector, "silence", lambda _: process.STALE_SECONDS + 2)
    assert "silent for 12 s" in plane.not_ready()


async def test_what_was_never_listed(plane: Plane) -> None:
    plane.directory.tenants.store.synced = False
    assert "no recent view" in plane.not_ready()


async def test_no_keys(plane: Plane) -> None:
    plane.keys.keyring = None
    assert "no keys" in plane.not_ready()


async def test_draining(plane: Plane) -> None:
    plane.draining = True
    assert plane.not_ready() == "draining"


async def test_the_port_says_it(plane: Plane) -> None:
    runner = aiohttp.web.AppRunner(plane.control_app)
    await runner.setup()
    try:
        await aiohttp.web.TCPSite(runner, build.ADDRESS, 0).start()
        url = f"http://{build.ADDRESS}:{runner.addresses[0][1]}/readyz"
        async with aiohttp.ClientSession() as kubelet, asyncio.timeout(5):
            async with kubelet.get(url) as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
            plane.draining = True
            async with kubelet.get(url) as answer:
                assert (answer.status, await answer.text()) == (503, "draining\n")
    finally:
        await runner.cleanup()
