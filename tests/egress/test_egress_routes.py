"""The smaller routes: renewal of identities, public keys, and what the kubelet and the operator ask."""

from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from agentsession.egress.control import Control
from agentsession.keys.call import usage_call
from agentsession.keys.identity import verify_identity

from . import build
from .conftest import from_address
from .plane import Plane

pytestmark = pytest.mark.unit


async def test_an_identity_is_renewed_for_its_pod(plane: Plane, agent: aiohttp.ClientSession) -> None:
    async with agent.post("/v1/identity", json={"slot": 0}) as answer:
        told = await answer.json()
    assert verify_identity(told["token"], build.EGRESS.jwks()) == build.identity()
    assert datetime.fromisoformat(told["expires_at"]) > datetime.now(UTC)


async def test_an_identity_is_not_renewed_elsewhere_or_after_its_pod(
    plane: Plane, agent: aiohttp.ClientSession
) -> None:
    async with from_address(plane, "127.0.0.2") as thief, thief.post("/v1/identity") as answer:
        assert answer.status == 403
    plane.directory.pods.store.observe("MODIFIED", build.pod(addresses=("127.0.0.3",)))
    async with agent.post("/v1/identity") as answer:
        assert answer.status == 403
    plane.directory.pods.store.observe("DELETED", build.pod())
    async with agent.post("/v1/identity") as answer:
        assert answer.status == 403


@pytest.mark.parametrize("body", ["[]", '{"slot": 1}', "x", " " * 2000])
async def test_a_wrong_request_for_an_identity(plane: Plane, agent: aiohttp.ClientSession, body: str) -> None:
    async with agent.post("/v1/identity", data=body) as answer:
        assert answer.status == 400


async def test_public_keys_and_signs_of_life(plane: Plane, agent: aiohttp.ClientSession) -> None:
    async with agent.get("/v1/keys") as answer:
        assert await answer.json() == build.OPERATOR.jwks()
    async with agent.get("/healthz") as answer:
        assert answer.status == 200
    async with agent.head("/") as answer:
        assert answer.status == 200


async def test_the_control_port(plane: Plane) -> None:
    reasons = ["draining"]
    app = Control(plane.ledger, plane.directory, lambda: reasons[0]).app()
    plane.ledger.begin(build.parsed_session(), build.NOW)
    call = {"authorization": f"Bearer {usage_call(build.OPERATOR, datetime.now(UTC))}"}
    async with TestServer(app, host=build.ADDRESS) as server, aiohttp.ClientSession(server.make_url("/")) as session:
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "draining\n")
        reasons[0] = ""
        async with session.get("/readyz") as answer:
            assert answer.status == 200
        async with session.get("/v1/report?after=0", headers=call) as answer:
            told = await answer.json()
        assert (told["incarnation"], told["sequence"]) == ("one", 1)
        assert told["sessions"][0]["meter"]["requests"] == 1
        async with session.get("/v1/report?after=1", headers=call) as answer:
            assert (await answer.json())["sessions"] == []
        async with session.get("/v1/report?after=x", headers=call) as answer:
            assert answer.status == 400
        for header in ({}, {"authorization": f"Bearer {usage_call(build.EGRESS, datetime.now(UTC))}"}):
            async with session.get("/v1/report", headers=header) as answer:
                assert answer.status == 401
        async with session.get("/metrics") as answer:
            assert "agentsession_egress_tokens_total" in await answer.text()
