"""What the real CLI sends passes the plane: recorded requests, and the CLI itself."""

import json
from pathlib import Path

import aiohttp
import pytest

from devcluster.scripted.server import Scripted

from . import build
from .plane import Plane
from .real_cli import CASES, RECORDED, Case, converse

pytestmark = pytest.mark.unit

REQUESTS = json.loads(RECORDED.read_text())
MODELS = sorted({request["body"]["model"] for request in REQUESTS})


@pytest.mark.parametrize("request_", REQUESTS, ids=[request["case"] for request in REQUESTS])
async def test_a_recorded_request_passes_whole(plane: Plane, model: Scripted, request_: dict[str, object]) -> None:
    plane.allow_models(*MODELS)
    sent = {**dict(request_["headers"]), "x-api-key": build.token()}  # type: ignore[call-overload]
    body = json.dumps(request_["body"]).encode()
    async with (
        aiohttp.ClientSession(plane.url, headers=sent) as session,
        session.post(str(request_["path"]), data=body) as answer,
    ):
        told = await answer.text()
    (record,) = model.records.records()
    assert record.body == body, told
    arrived = {name.lower(): value for name, value in record.headers}
    changed = {"x-api-key", "accept-encoding", "connection"}
    assert {k: arrived.get(k) for k in map(str.lower, sent) if k not in changed} == {
        name.lower(): value for name, value in sent.items() if name.lower() not in changed
    }


@pytest.mark.parametrize("case", [CASES["tools"], CASES["subagent"]], ids=["tools", "subagent"])
async def test_the_real_cli_converses_through_the_plane(
    plane: Plane, model: Scripted, tmp_path: Path, case: Case
) -> None:
    plane.allow_models(*MODELS)
    results = await converse(case, plane.url, build.token(), tmp_path)
    assert [(result.is_error, result.result) for result in results] == [(False, "So.")] * len(case.prompts)
    records = model.records.records()
    assert plane.usage().meter.requests == len(records)
    assert {record.key for record in records} == {build.KEY}
    assert {record.violation for record in records} == {""}
