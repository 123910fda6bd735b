"""The init container against loopback listeners in the place of what is forbidden."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from agentsession_runner.contain import ROUNDS, contain, wait_until_contained
from agentsession_runner.errors import UnfitError
from agentsession_runner.layout import Layout
from agentsession_runner.protocol import EXIT_BAD_ENVIRONMENT, EXIT_BAD_VOLUME, EXIT_NO_IDENTITY, EXIT_NOT_CONTAINED
from agentsession_runner.settings import Settings, Target
from tests.runner.harness import POD_UID, Egress, environment, options

pytestmark = pytest.mark.unit

CLOSED = Target("127.0.0.1", 1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentsession_runner.contain.PAUSE", 0.01)
    monkeypatch.setattr("agentsession_runner.identity.RETRY_EXCHANGE", 0.01)


class Listener:
    """Something that a contained pod must not reach."""

    def __init__(self, server: asyncio.Server) -> None:
        self.target = Target("127.0.0.1", server.sockets[0].getsockname()[1])
        self.connections = 0


@asynccontextmanager
async def listener(close_after: int = 1000) -> AsyncIterator[Listener]:
    """Accepts that many connections; then its port is closed, as by a policy that comes into force."""

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        forbidden.connections += 1
        if forbidden.connections == close_after:
            server.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    forbidden = Listener(server)
    try:
        yield forbidden
    finally:
        server.close()


def new_pod(tmp_path: Path) -> Layout:
    """Volumes and the projected token, as the kubelet leaves them."""
    layout = Layout(tmp_path)
    for folder in (*layout.folders, layout.service_account_token, layout.termination_log):
        folder.parent.mkdir(parents=True, exist_ok=True)
    layout.service_account_token.write_text("projected\n")
    layout.sealed.mkdir(mode=0o700)
    return layout


def settings(egress_url: str, *forbidden: Target) -> Settings:
    return Settings(options(), POD_UID, egress_url, forbidden or (CLOSED,))


async def test_a_contained_pod_gets_folders_and_identity(egress: Egress, tmp_path: Path) -> None:
    layout = new_pod(tmp_path)
    await contain(settings(egress.url), layout)
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in layout.folders)
    assert egress.identities == ["projected"]
    assert layout.identity_token.read_text() == "identity-1"
    assert layout.identity_token.stat().st_mode & 0o777 == 0o600


async def test_waits_until_the_policy_is_in_force(egress: Egress) -> None:
    async with listener(close_after=3) as forbidden, aiohttp.ClientSession() as http:
        await wait_until_contained(http, egress.url, [CLOSED, forbidden.target], patience=10)
        assert forbidden.connections == 3


async def test_one_lost_packet_is_not_containment(egress: Egress, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [True, False, True, False, False]
    rounds = iter(answers)

    async def reaches(_: Target) -> bool:
        return next(rounds)

    monkeypatch.setattr("agentsession_runner.contain.reaches", reaches)
    async with aiohttp.ClientSession() as http:
        await wait_until_contained(http, egress.url, [CLOSED], patience=10)
    assert ROUNDS == 2
    assert next(rounds, None) is None, "it stopped after the first failure"


async def test_not_contained_names_what_it_reaches(egress: Egress, tmp_path: Path) -> None:
    async with listener() as api_server, listener() as canary:
        pod = settings(egress.url, api_server.target, CLOSED, canary.target)
        with pytest.raises(UnfitError, match=f"still reaches {api_server.target}, {canary.target};") as unfit:
            await contain(pod, new_pod(tmp_path), patience=0.1)
    assert unfit.value.code == EXIT_NOT_CONTAINED
    assert not egress.identities, "an uncontained pod asked for an identity"


async def test_an_egress_plane_that_does_not_answer(egress: Egress, tmp_path: Path) -> None:
    egress.healthy = False
    with pytest.raises(UnfitError, match="egress plane does not answer") as unfit:
        await contain(settings(egress.url), new_pod(tmp_path), patience=0.1)
    assert unfit.value.code == EXIT_NO_IDENTITY


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"type": "error", "error": {"type": "x", "message": message}}, status=status)


async def test_an_identity_that_is_refused_at_first(egress: Egress, tmp_path: Path) -> None:
    egress.refusals = [refusal(503, "no address yet"), refusal(403, "unknown pod")]
    layout = new_pod(tmp_path)
    await contain(settings(egress.url), layout)
    assert layout.identity_token.read_text() == "identity-3"


async def test_an_identity_that_is_refused_for_good(egress: Egress, tmp_path: Path) -> None:
    egress.refusals = [refusal(403, "pod is not\nof this installation") for _ in range(1000)]
    with pytest.raises(UnfitError, match="answered 403: pod is not of this installation") as unfit:
        await contain(settings(egress.url), new_pod(tmp_path), patience=0.1)
    assert unfit.value.code == EXIT_NO_IDENTITY


async def test_a_planted_link_in_the_place_of_a_folder(egress: Egress, tmp_path: Path) -> None:
    layout = new_pod(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    layout.work.symlink_to(elsewhere)
    with pytest.raises(UnfitError, match="symbolic link") as unfit:
        await contain(settings(egress.url), layout)
    assert unfit.value.code == EXIT_BAD_VOLUME
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    assert not list(elsewhere.iterdir())


async def test_a_file_in_the_place_of_a_folder(egress: Egress, tmp_path: Path) -> None:
    layout = new_pod(tmp_path)
    layout.claude.touch()
    with pytest.raises(UnfitError, match=f"{layout.claude}: Not a directory") as unfit:
        await contain(settings(egress.url), layout)
    assert unfit.value.code == EXIT_BAD_VOLUME


async def test_a_resumed_pod_keeps_its_files(egress: Egress, tmp_path: Path) -> None:
    layout = new_pod(tmp_path)
    layout.work.mkdir(mode=0o755)
    (layout.work / "kept").touch()
    await contain(settings(egress.url), layout)
    assert (layout.work / "kept").exists()
    assert layout.work.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [None, 0o755, 0o710, 0o701])
async def test_an_image_whose_termination_log_could_be_written(
    egress: Egress, tmp_path: Path, mode: int | None
) -> None:
    layout = new_pod(tmp_path)
    if mode is None:
        layout.sealed.rmdir()
    else:
        layout.sealed.chmod(mode)
    with pytest.raises(UnfitError, match=str(layout.sealed)) as unfit:
        await contain(settings(egress.url), layout)
    assert unfit.value.code == EXIT_BAD_ENVIRONMENT
    assert not egress.identities


def test_the_process_leaves_code_and_termination_message(tmp_path: Path) -> None:
    layout = new_pod(tmp_path)
    layout.claude.symlink_to("nowhere")
    ended = subprocess.run(
        [sys.executable, "-m", "agentsession_runner", "--root", str(tmp_path), "contain"],
        env=environment("http://127.0.0.1:1", options()), check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert ended.returncode == EXIT_BAD_VOLUME
    assert str(layout.claude) in layout.termination_log.read_text()
    assert "\n" not in layout.termination_log.read_text()
