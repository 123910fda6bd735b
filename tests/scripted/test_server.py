import asyncio
import json
from collections.abc import AsyncIterator, Callable
from io import BytesIO

import aiohttp
import pytest

from devcluster.scripted.record import fingerprint
from devcluster.scripted.server import MAX_BODY_BYTES, Scripted, running
from devcluster.scripted.wire import JSON
from tests.scripted.build import assistant, body, call, result, text, user

pytestmark = pytest.mark.unit

MESSAGES = "/v1/messages"


async def ask(client: aiohttp.ClientSession, prompt: str, **fields: object) -> JSON:
    async with client.post(MESSAGES, json=body(prompt, **fields)) as response:
        answer: JSON = await response.json()
        return answer


def only_block(answer: JSON) -> JSON:
    content = answer["content"]
    assert isinstance(content, list)
    assert len(content) == 1
    block: JSON = content[0]
    return block


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[JSON]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_the_default_answer_echoes_a_few_words(client: aiohttp.ClientSession) -> None:
    answer = await ask(client, "one two three " * 1_000)
    said = str(only_block(answer)["text"])
    assert said.startswith("You wrote “one two three one")
    assert len(said) < 250
    assert answer["stop_reason"] == "end_turn"


async def test_usage_is_counted_from_the_sizes(client: aiohttp.ClientSession, scripted: Scripted) -> None:
    answer = await ask(client, "[[say: 12345678]]")
    (record,) = scripted.records.records()
    assert record.usage
    assert (record.usage.input, record.usage.output) == (len(record.body) // 4, 2)
    assert answer["usage"] == record.usage.wire() | {"service_tier": "standard"}


async def test_a_stream_has_the_events_of_the_service(client: aiohttp.ClientSession, scripted: Scripted) -> None:
    prompt = "[[usage: in=9 out=8 cache_read=7]] [[say: hello there]]"
    async with client.post(MESSAGES, json=body(prompt, stream=True)) as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["request-id"].startswith("req_")
        assert response.headers["anthropic-ratelimit-requests-remaining"].isdecimal()
        kinds = [event["type"] async for event in events(response)]
    assert kinds == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    (record,) = scripted.records.records()
    assert record.usage
    assert (record.outcome, record.events) == ("completed", 8)
    assert (record.usage.input, record.usage.output, record.usage.cache_read) == (9, 8, 7)


async def test_each_tool_result_brings_the_next_step(client: aiohttp.ClientSession) -> None:
    prompt = '[[tool: Bash {"command": "ls"}]] [[tool: Read {"path": "x"}]] [[say: all done]]'
    conversation = [user(prompt)]
    served = []
    for _ in range(3):
        block = only_block(await ask(client, "", messages=conversation))
        served.append(block.get("name", block.get("text")))
        conversation += [assistant([block]), user([result(str(block.get("id")))])]
    assert served == ["Bash", "Read", "all done"]


async def test_a_repeated_request_gets_the_same_tool_id_and_a_restarted_server_gives_it_too(
    client: aiohttp.ClientSession,
) -> None:
    first, again = [(await ask(client, "[[tool: Bash]]"))["content"] for _ in range(2)]
    async with running() as other, aiohttp.ClientSession(other.url, headers=client.headers) as elsewhere:
        assert first == again == (await ask(elsewhere, "[[tool: Bash]]"))["content"]


async def test_count_tokens_is_no_usage(client: aiohttp.ClientSession, scripted: Scripted) -> None:
    asked = {"model": "m", "messages": [user("x" * 400)]}
    async with client.post("/v1/messages/count_tokens", json=asked) as response:
        assert (await response.json())["input_tokens"] >= 100
    assert scripted.records.usage()["total"] == {
        "requests": 0,
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 0,
    }


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({}, 401, "x-api-key header is required"),
        ({"authorization": "Basic good"}, 401, "x-api-key header is required"),
        ({"x-api-key": "bad"}, 401, "invalid x-api-key"),
        ({"x-api-key": "good"}, 200, ""),
        ({"authorization": "Bearer good"}, 200, ""),
    ],
)
async def test_keys(headers: dict[str, str], status: int, message: str) -> None:
    async with running(keys=frozenset({"good"})) as server, aiohttp.ClientSession(server.url) as client:
        sent = headers | {"anthropic-version": "2023-06-01"}
        async with client.post(MESSAGES, json=body("hi"), headers=sent) as response:
            answer = await response.json()
            assert response.status == status
            if status == 401:
                assert answer["error"] == {"type": "authentication_error", "message": message}
                assert answer["request_id"] == response.headers["request-id"]


async def test_a_malformed_request_is_refused_and_the_violation_recorded(
    client: aiohttp.ClientSession, scripted: Scripted
) -> None:
    answer = await ask(client, "", messages=[user("go"), assistant([call("x")]), user("well?")])
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["type"] == "invalid_request_error"
    (record,) = scripted.records.records()
    assert record.violation == error["message"]
    assert record.violation.startswith("messages.2: the tool_use x")


async def test_a_script_that_cannot_be_read_is_told_to_its_author(
    client: aiohttp.ClientSession, scripted: Scripted
) -> None:
    answer = await ask(client, "[[usage: in=x]]")
    assert "scripted model: [[usage: in=x]]: in: Input should be a valid integer" in str(answer["error"])
    assert scripted.records.records()[0].violation == ""


async def test_an_unknown_path_is_refused_and_recorded(client: aiohttp.ClientSession, scripted: Scripted) -> None:
    async with client.get("/api/hello?x=1") as response:
        assert (response.status, (await response.json())["error"]["type"]) == (404, "not_found_error")
    (record,) = scripted.records.records()
    assert (record.method, record.path, record.query) == ("GET", "/api/hello", "x=1")


async def test_a_body_over_the_limit_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.post(MESSAGES, data=BytesIO(b"x" * (MAX_BODY_BYTES + 1))) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (413, "request_too_large")


async def test_an_error_with_its_headers_then_the_answer(client: aiohttp.ClientSession) -> None:
    prompt = "[[error: 429 rate_limit_error times=1]] [[headers: retry-after=7]] [[say: fine]]"
    async with client.post(MESSAGES, json=body(prompt)) as response:
        assert response.status == 429
        assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("7", "true")
        assert (await response.json())["error"]["type"] == "rate_limit_error"
    assert (await ask(client, prompt))["content"] == [text("fine")]


async def test_attempts_are_counted_per_session(client: aiohttp.ClientSession) -> None:
    prompt = "[[error: 500 times=1]] [[say: fine]]"
    for session in ("one", "two"):
        async with client.post(MESSAGES, json=body(prompt), headers={"x-claude-code-session-id": session}) as response:
            assert response.status == 500


async def test_an_error_in_the_middle_of_a_stream(client: aiohttp.ClientSession, scripted: Scripted) -> None:
    async with client.post(MESSAGES, json=body("[[error: 529 after=4]]", stream=True)) as response:
        seen = [event async for event in events(response)]
    assert [event["type"] for event in seen[-2:]] == ["content_block_delta", "error"]
    assert seen[-1]["error"] == {"type": "overloaded_error", "message": "This failure was scripted."}
    assert (scripted.records.records()[0].outcome, scripted.records.records()[0].events) == ("error", 4)


async def test_cut_drops_the_connection_in_the_middle(
    client: aiohttp.ClientSession, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.post(MESSAGES, json=body("[[cut]] [[usage: in=5 out=50]]", stream=True)) as response:
        stream = events(response)
        seen = [(await anext(stream))["type"] for _ in range(4)]
        with pytest.raises(aiohttp.ClientPayloadError):
            await anext(stream)
    assert seen == ["message_start", "content_block_start", "ping", "content_block_delta"]
    (record,) = scripted.records.records()
    assert record.usage
    assert (record.outcome, record.error, record.usage.input, record.usage.output) == ("error", "cut", 5, 1)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("prompt", "stream"), [("[[cut: after=0]]", True), ("[[cut]]", False)])
async def test_cut_before_anything(client: aiohttp.ClientSession, prompt: str, stream: bool) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.post(MESSAGES, json=body(prompt, stream=stream))


async def test_garbage_is_no_event(client: aiohttp.ClientSession) -> None:
    async with client.post(MESSAGES, json=body("[[garbage]]", stream=True)) as response:
        with pytest.raises(json.JSONDecodeError):
            _ = [event async for event in events(response)]


@pytest.mark.parametrize(
    ("prompt", "content"), [("[[empty]]", b""), ("[[garbage: after=0]]", b"<html>no answer</html>\n")]
)
async def test_200_with_no_answer_in_it(client: aiohttp.ClientSession, prompt: str, content: bytes) -> None:
    async with client.post(MESSAGES, json=body(prompt, stream=True)) as response:
        assert (response.status, await response.read()) == (200, content)


async def test_hang_is_silent_until_the_client_goes(
    client: aiohttp.ClientSession, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.post(MESSAGES, json=body("[[hang: after=2]] [[usage: in=5 out=50]]", stream=True)) as response:
        stream = events(response)
        assert [(await anext(stream))["type"] for _ in range(2)] == ["message_start", "content_block_start"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        (record,) = scripted.records.records()
        assert record.outcome == "open"
    await until(lambda: record.outcome == "aborted")
    assert record.usage
    assert (record.usage.input, record.usage.output) == (5, 1)
    assert "Traceback" not in caplog.text


async def test_a_client_that_goes_during_a_stream_has_aborted(
    client: aiohttp.ClientSession, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = "[[stream: events=1000000 interval=0]]"
    async with client.post(MESSAGES, json=body(prompt, stream=True)) as response:
        assert (await anext(events(response)))["type"] == "message_start"
    (record,) = scripted.records.records()
    await until(lambda: record.outcome == "aborted")
    assert record.events < 1_000_000
    assert "Traceback" not in caplog.text


async def test_slow_waits_before_each_event(client: aiohttp.ClientSession) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with client.post(MESSAGES, json=body("[[slow: 0.01]] [[say: x]]", stream=True)) as response:
        count = len([event async for event in events(response)])
    assert loop.time() - started >= count * 0.01


async def test_what_was_sent_is_listed_and_forgotten(client: aiohttp.ClientSession, scripted: Scripted) -> None:
    await ask(client, "first")
    await ask(client, "second")
    async with client.get("/_requests?since=1") as response:
        (listed,) = await response.json()
    assert listed["body"] == body("second")
    assert listed["usage"] == scripted.records.records()[1].usage.wire()  # type: ignore[union-attr]
    assert ["x-api-key", "test"] in listed["headers"]
    expected = {
        "seq": 2,
        "method": "POST",
        "path": MESSAGES,
        "query": "",
        "key": "test",
        "key_sha256": fingerprint("test"),
        "session": "one",
        "client": "127.0.0.1",
        "status": 200,
        "outcome": "completed",
        "violation": "",
    }
    assert {name: listed[name] for name in expected} == expected
    async with client.delete("/_requests") as response:
        assert response.status == 204
    async with client.get("/_requests") as response:
        assert await response.json() == []


async def test_usage_is_summed_in_all_and_per_session_and_key(client: aiohttp.ClientSession) -> None:
    for session in ("one", "two", "two"):
        headers = {"x-claude-code-session-id": session}
        async with client.post(MESSAGES, json=body("[[usage: in=10 out=2]]"), headers=headers) as response:
            assert response.status == 200
    async with client.get("/_usage") as response:
        served = await response.json()
    assert [served["total"][name] for name in ("requests", "input_tokens", "output_tokens")] == [3, 30, 6]
    assert {name: total["output_tokens"] for name, total in served["sessions"].items()} == {"one": 2, "two": 4}
    assert {name: total["requests"] for name, total in served["keys"].items()} == {fingerprint("test"): 3}


async def test_a_body_that_is_no_json_is_listed_as_text(client: aiohttp.ClientSession) -> None:
    async with client.post(MESSAGES, data=b"{nope") as response:
        assert response.status == 400
    async with client.get("/_requests") as response:
        assert (await response.json())[0]["body"] == "{nope"
