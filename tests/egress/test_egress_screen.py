"""What is forwarded, and what never is."""

import json

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from agentsession.egress.refusal import Refusal
from agentsession.egress.screen import COUNT_TOKENS, MESSAGES, Screened, screen_body, screen_head

pytestmark = pytest.mark.unit
MODELS = ["m", "n"]


def body(**changes: object) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 10, "messages": []} | changes).encode()


def head(*headers: tuple[str, str], without: str = "") -> CIMultiDictProxy[str]:
    """The headers that every request needs but one, and these."""
    needed = [("content-type", "application/json"), ("anthropic-version", "2023-06-01")]
    return CIMultiDictProxy(CIMultiDict([*(each for each in needed if each[0] != without), *headers]))


@pytest.mark.parametrize("query", ["", "beta=true"])
def test_known_query_strings_pass(query: str) -> None:
    assert screen_head(query, head()) is None


@pytest.mark.parametrize("query", ["beta=false", "beta=true&x=1", "x", "beta=tru%65", "beta=true&beta=true"])
def test_other_query_strings_do_not(query: str) -> None:
    refusal = screen_head(query, head())
    assert refusal is not None
    assert "query string" in refusal.message


@pytest.mark.parametrize("encoding", ["gzip", "identity", ""])
def test_encoded_bodies_do_not_pass(encoding: str) -> None:
    refusal = screen_head("", head(("Content-Encoding", encoding)))
    assert refusal is not None
    assert "Content-Encoding" in refusal.message


PLAIN = ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"']
ODD = ["", "text/plain", "application/json; charset=utf-16", "application/json; charset=latin-1", "application/jsonl"]


@pytest.mark.parametrize("value", PLAIN)
def test_plain_json_passes(value: str) -> None:
    assert screen_head("", head(("Content-Type", value), without="content-type")) is None


@pytest.mark.parametrize("value", ODD)
def test_what_may_be_no_plain_json_does_not(value: str) -> None:
    refusal = screen_head("", head(("Content-Type", value), without="content-type"))
    assert refusal is not None
    assert "Content-Type" in refusal.message


HEADS = {
    "no type": (head(without="content-type"), "Content-Type"),
    "two types": (head(("Content-Type", "application/json")), "Content-Type"),
    "no version": (head(without="anthropic-version"), "anthropic-version"),
    "two versions": (head(("anthropic-version", "2023-06-01")), "anthropic-version"),
    "a beta of a second header": (
        head(("anthropic-beta", "effort-2025-11-24"), ("Anthropic-Beta", "files-api-2025-04-14")),
        "files-api",
    ),
    "a beta in capitals": (head(("anthropic-beta", "Effort-2025-11-24")), "Effort"),
    "a beta among betas": (head(("anthropic-beta", "effort-2025-11-24;files-api-2025-04-14")), "files-api"),
}


@pytest.mark.parametrize(("headers", "says"), HEADS.values(), ids=HEADS.keys())
def test_other_headers_do_not_pass(headers: CIMultiDictProxy[str], says: str) -> None:
    refusal = screen_head("", headers)
    assert refusal is not None
    assert says in refusal.message


def test_a_plain_request_passes() -> None:
    assert screen_body(MESSAGES, body(), MODELS) == Screened(MESSAGES, "m", streamed=False, max_tokens=10)
    assert screen_body(MESSAGES, body(model="n", stream=True, metadata={"a": 1}), MODELS) == Screened(
        MESSAGES, "n", streamed=True, max_tokens=10
    )


def test_counting_needs_no_max_tokens() -> None:
    assert screen_body(COUNT_TOKENS, b'{"model": "m"}', MODELS) == Screened(
        COUNT_TOKENS, "m", streamed=False, max_tokens=0
    )


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"m"', "not a JSON object"),
        (b'{"model": "m"', "not JSON"),
        (body().decode().encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf" + body(), "not JSON"),
        (b'{"model": "m", "max_tokens": NaN}', "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b'{"model": "m", "max_tokens": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"model": "m", "max_tokens": 1, "model": "m"}', 'the key "model" twice'),
        (b'{"model": "m", "max_tokens": 1, "mod\\u0065l": "x"}', 'the key "model" twice'),
        (b'{"model": "m", "max_tokens": 1, "messages": [{"a": {"b": 1, "b": 2}}]}', 'the key "b" twice'),
        (body(model="x"), 'allows m, n; this request names "x"'),
        (body(model=None), "allows m, n"),
        (body(model=["m"]), "allows m, n"),
        (body(stream="yes"), "stream"),
        (body(max_tokens=0), "max_tokens"),
        (body(max_tokens=True), "max_tokens"),
        (body(max_tokens="10"), "max_tokens"),
        (b'{"model": "m"}', "max_tokens"),
    ],
)
def test_refused_with_what_is_wrong(raw: bytes, says: str) -> None:
    refusal = screen_body(MESSAGES, raw, MODELS)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.type) == (400, "invalid_request_error")
    assert says in refusal.message
