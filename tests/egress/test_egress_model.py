"""The model route end to end: what goes through unchanged, what is added, what is counted."""

import asyncio
import json
import socket

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY

from agentsession.egress import call as call_module
from agentsession_runner import logs
from devcluster.scripted.server import Scripted

from . import build
from .conftest import HEADERS, prompt, until
from .plane import Plane

pytestmark = pytest.mark.unit


async def direct(model: Scripted, body: dict[str, object]) -> tuple[int, bytes]:
    """What the model itself answers."""
    async with (
        aiohttp.ClientSession(headers=HEADERS | {"x-api-key": build.KEY}) as session,
        session.post(f"{model.url}/v1/messages", json=body) as answer,
    ):
        return answer.status, await answer.read()


def without_ids(raw: bytes) -> bytes:
    """The answer without what the model makes anew each time."""
    lines = []
    for line in raw.splitlines():
        if line.startswith(b"data: ") and b"message_start" in line:
            data = json.loads(line[6:])
            data["message"].pop("id")
            line = json.dumps(data).encode()  # noqa: PLW2901
        lines.append(line)
    return b"\n".join(lines)


async def test_a_stream_is_the_models_own_bytes(plane: Plane, agent: aiohttp.ClientSession, model: Scripted) -> None:
    body = prompt('[[say: hello]] [[tool: Bash {"command": "ls"}]]', stream=True)
    async with agent.post("/v1/messages?beta=true", json=body) as answer:
        streamed = await answer.read()
    assert answer.status == 200
    assert answer.content_type == "text/event-stream"
    assert without_ids(streamed) == without_ids((await direct(model, body))[1])


async def test_the_request_goes_through_with_only_its_credential_changed(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    raw = b'{ "max_tokens":10,\n"model":"claude-opus-5-5", "messages":[{"role":"user","content":"h\\u00e9"}] }'
    headers = {
        "authorization": f"Bearer {build.token()}",
        "anthropic-beta": "effort-2025-11-24,context-1m-2025-08-07",
        "content-type": "application/json",
        "cookie": "a=b",
        "x-forwarded-for": "10.0.0.1",
        "x-stainless-lang": "js",
        "x-unknown": "dropped",
        "connection": "keep-alive, x-app",
        "x-app": "dropped",
        "accept-encoding": "gzip, br",
    }
    async with agent.post("/v1/messages?beta=true", data=raw, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    (record,) = model.records.records()
    sent = {name.lower(): value for name, value in record.headers}
    assert record.body == raw
    assert (record.path, record.query) == ("/v1/messages", "beta=true")
    assert sent["x-api-key"] == build.KEY
    assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2023-06-01", headers["anthropic-beta"])
    assert (sent["x-stainless-lang"], sent["accept-encoding"]) == ("js", "identity")
    assert sent.keys().isdisjoint({"authorization", "cookie", "x-forwarded-for", "x-unknown", "x-app"})
    assert build.token() not in str(record.headers)


@pytest.mark.parametrize("stream", [True, False])
async def test_tokens_are_exactly_those_served(plane: Plane, agent: aiohttp.ClientSession, stream: bool) -> None:
    text = "[[usage: in=101 out=202 cache_read=303 cache_write=40 cache_write_1h=4]] [[say: hello]]"
    for _ in range(3):
        async with agent.post("/v1/messages", json=prompt(text, stream=stream)) as answer:
            await answer.read()
    meter = plane.usage().meter
    assert (meter.requests, meter.input_tokens, meter.output_tokens) == (3, 303, 606)
    assert (meter.cache_read_input_tokens, meter.cache_creation_input_tokens) == (909, 132)
    assert not meter.estimated
    # 101 in at 4, 202 out at 20, 303 read at 0.2, 40 written at 5 and 4 at 8 US dollars per million
    assert meter.cost_usd == "0.0142098"


async def test_counting_is_free(plane: Plane, agent: aiohttp.ClientSession) -> None:
    async with agent.post("/v1/messages/count_tokens", json=prompt("hello")) as answer:
        assert (await answer.json())["input_tokens"] > 0
    assert plane.ledger.report(0).sessions == []


@pytest.mark.parametrize("stream", [True, False])
async def test_errors_of_the_provider_go_through_and_cost_nothing(
    plane: Plane, agent: aiohttp.ClientSession, stream: bool
) -> None:
    text = (
        '[[headers: anthropic-ratelimit-tokens-remaining=7 retry-after=3]] [[error: 429 rate_limit_error message="x"]]'
    )
    async with agent.post("/v1/messages", json=prompt(text, stream=stream)) as answer:
        told = await answer.json()
    assert answer.status == 429
    assert told["error"] == {"type": "rate_limit_error", "message": "x"}
    assert answer.headers["anthropic-ratelimit-tokens-remaining"] == "7"
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["x-should-retry"] == "true"
    assert answer.headers["request-id"] == told["request_id"]
    meter = plane.usage().meter
    assert (meter.requests, meter.input_tokens, meter.output_tokens, meter.cost_usd) == (1, 0, 0, "0")


async def test_a_provider_that_cuts_its_stream_ends_in_a_well_formed_error(
    plane: Plane, agent: aiohttp.ClientSession
) -> None:
    text = "[[usage: in=11 out=99]] [[stream: events=50]] [[cut: after=6]]"
    async with agent.post("/v1/messages", json=prompt(text, stream=True)) as answer:
        events = (await answer.text()).strip().split("\n\n")
    assert events[-1].startswith("event: error\n")
    assert json.loads(events[-1].partition("data: ")[2])["error"]["type"] == "api_error"
    meter = plane.usage().meter
    assert (meter.input_tokens, meter.estimated) == (11, True)


async def test_a_provider_that_cannot_be_reached_is_a_502(plane: Plane, agent: aiohttp.ClientSession) -> None:
    with socket.create_server((build.ADDRESS, 0)) as bound:
        url = f"http://{build.ADDRESS}:{bound.getsockname()[1]}"
    plane.use_upstream(url)
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        told = await answer.json()
    assert (answer.status, told["error"]["type"]) == (502, "api_error")
    assert url in told["error"]["message"]
    assert "retry-after" in answer.headers


@pytest.mark.parametrize(
    ("status", "headers"), [(307, {"location": "/elsewhere"}), (200, {"content-encoding": "gzip"})]
)
async def test_what_cannot_be_passed_on_is_a_502(
    plane: Plane, agent: aiohttp.ClientSession, status: int, headers: dict[str, str]
) -> None:
    reached: list[str] = []

    async def answer_so(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response(status=status, headers=headers)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer_so)
    async with TestServer(app, host=build.ADDRESS) as server:
        plane.use_upstream(str(server.make_url("")).rstrip("/"))
        async with agent.post("/v1/messages", json=prompt("hello")) as answer:
            assert answer.status == 502
    assert reached == ["/v1/messages"]


async def test_the_environments_proxy_is_not_used(
    plane: Plane, agent: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert answer.status == 200


async def test_a_credential_that_cannot_be_used_is_named(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    plane.secret = build.secret(hosts="api.anthropic.com")
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        told = await answer.json()
    assert answer.status == 503
    assert "agentsession.io/hosts must name 127.0.0.1" in told["error"]["message"]
    assert model.records.records() == []
    assert plane.ledger.report(0).tenants[0].state == "HostNotAllowed"


async def test_events_are_not_held_back(plane: Plane, agent: aiohttp.ClientSession) -> None:
    async with agent.post("/v1/messages", json=prompt("[[hang: after=3]]", stream=True)) as answer:
        seen = b""
        async with asyncio.timeout(3):
            while seen.count(b"\n\n") < 3:
                seen += await answer.content.readany()
    assert b"event: ping" in seen


async def test_what_streams_after_the_client_has_gone_is_counted(plane: Plane, agent: aiohttp.ClientSession) -> None:
    text = "[[usage: in=11 out=60]] [[stream: events=60 interval=0.005]]"
    answer = await agent.post("/v1/messages", json=prompt(text, stream=True))
    await answer.content.readany()
    answer.close()
    await until(lambda: not plane.calls)
    meter = plane.usage().meter
    assert (meter.input_tokens, meter.output_tokens, meter.estimated) == (11, 60, False)


@pytest.mark.parametrize("after", [0, 6])
async def test_an_aborted_answer_that_never_ends_is_billed_at_a_bound(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(call_module, "READ_ON_SECONDS", 0.1)
    text = f"[[usage: in=11 out=60]] [[stream: events=60]] [[hang: after={after}]]"
    asking = asyncio.create_task(agent.post("/v1/messages", json=prompt(text, stream=True)))
    await until(model.records.records)
    if after:
        await (await asking).content.readany()
        (await asking).close()
    else:
        asking.cancel()
    await until(lambda: not plane.calls)
    meter = plane.usage().meter
    assert meter.estimated
    assert meter.requests == 1
    request = len(model.records.records()[0].body)
    streamed = len("tok ") * 3  # of six events, three are deltas
    assert (meter.input_tokens, meter.output_tokens) == ((11, streamed) if after else (request, 0))
    await until(lambda: model.records.records()[0].outcome == "aborted")


async def test_the_turn_limit_ends_the_session_in_the_clis_own_words(
    plane: Plane, agent: aiohttp.ClientSession
) -> None:
    elsewhere = {"usage": {"meters": [{"incarnation": "zero", "requests": 2}]}}
    plane.set_session(build.session(turns=3, status=elsewhere))
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert answer.status == 200
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        told = await answer.json()
    assert (answer.status, told["error"]["type"]) == (429, "billing_error")
    assert answer.headers["x-should-retry"] == "false"
    assert "spec.limits.turns" in told["error"]["message"]
    assert plane.usage().stopped == "TurnLimit"
    plane.set_session(build.session(turns=4, status=elsewhere))
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert answer.status == 200
    assert plane.usage().stopped is None


async def test_a_session_has_eight_requests_at_once(plane: Plane, agent: aiohttp.ClientSession) -> None:
    hanging = [await agent.post("/v1/messages", json=prompt("[[hang: after=1]]", stream=True)) for _ in range(8)]
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        told = await answer.json()
    assert (answer.status, told["error"]["type"]) == (429, "rate_limit_error")
    assert answer.headers["retry-after"] == "1"
    for open_answer in hanging:
        open_answer.close()


async def test_an_empty_answer_is_passed_on(plane: Plane, agent: aiohttp.ClientSession) -> None:
    async with agent.post("/v1/messages", json=prompt("[[empty]]", stream=True)) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    assert plane.usage().meter.input_tokens == 0


async def test_while_draining_connections_end_with_their_answer(plane: Plane, agent: aiohttp.ClientSession) -> None:
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert "connection" not in answer.headers
    plane.draining = True
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_the_audit_has_counts_and_no_text(
    plane: Plane, agent: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    async with agent.post("/v1/messages?beta=true", json=prompt("[[say: swordfish]] [[usage: in=5 out=6]]")) as answer:
        await answer.read()
    async with agent.post("/v1/messages?q=swordfish", json=prompt("hello")) as answer:
        assert answer.status == 400
    printed = capsys.readouterr().out
    read, called, refused = (json.loads(line) for line in printed.splitlines())
    assert (read["audit"], read["secret"], read["state"]) == ("credential", "key", "Ready")
    assert (called["audit"], called["session"], called["input_tokens"], called["output_tokens"]) == (
        "model_call",
        "session-a",
        5,
        6,
    )
    assert (refused["audit"], refused["status"], refused["peer"]) == ("refused", 400, build.ADDRESS)
    assert "swordfish" not in printed
    assert build.KEY not in printed
    assert build.token() not in printed


async def test_a_replica_that_has_told_its_last_counts_serves_nobody(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    plane.calls.close()
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert model.records.records() == []


async def test_metrics_tell_what_became_of_each_request(plane: Plane, agent: aiohttp.ClientSession) -> None:
    def counted() -> dict[tuple[str, ...], float]:
        names = (
            "agentsession_egress_requests",
            "agentsession_egress_refusals",
            "agentsession_egress_first_byte_seconds",
        )
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in REGISTRY.collect()
            if family.name in names
            for sample in family.samples
            if sample.name.endswith(("_total", "_count"))
        }

    before = counted()
    for text in ("hello", "[[error: 429 rate_limit_error]]", "[[empty]]"):
        async with agent.post("/v1/messages", json=prompt(text)) as answer:
            await answer.read()
    async with agent.post("/v1/messages", json=prompt("hello", container="c")) as answer:
        assert answer.status == 400
    grown = {key: value - before.get(key, 0) for key, value in counted().items() if value != before.get(key, 0)}
    route = "/v1/messages"
    assert grown == {
        ("agentsession_egress_requests_total", route, "ok"): 2,
        ("agentsession_egress_requests_total", route, "provider_error"): 1,
        ("agentsession_egress_requests_total", route, "refused"): 1,
        ("agentsession_egress_refusals_total", route, "invalid_request_error"): 1,
        ("agentsession_egress_first_byte_seconds_count",): 3,
    }


async def test_lines_about_a_session_carry_its_uid(
    plane: Plane, agent: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Operator, runner and egress plane call it `session`. A connection that goes on with another's is no exception."""
    caplog.handler.setFormatter(logs.JsonLines())
    with socket.create_server((build.ADDRESS, 0)) as bound:
        plane.use_upstream(f"http://{build.ADDRESS}:{bound.getsockname()[1]}")
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert answer.status == 502
    (line,) = [json.loads(line) for line in caplog.text.splitlines() if "model provider" in line]
    assert (line["session"], line["namespace"], line["level"]) == ("session-a", "team", "warning")
