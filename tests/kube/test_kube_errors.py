"""Answers of the API server as errors, and names as paths."""

import json

import pytest

from agentsession.kube import errors
from agentsession.kube.resource import AGENTSESSIONS, LEASES, NAMESPACES, PODS

pytestmark = pytest.mark.unit


def status(reason: str, **details: object) -> bytes:
    return json.dumps({"kind": "Status", "reason": reason, "message": "because", "details": details}).encode()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.InvalidError),
        (401, "Unauthorized", errors.UnauthorizedError),
        (403, "Forbidden", errors.ForbiddenError),
        (404, "NotFound", errors.NotFoundError),
        (409, "AlreadyExists", errors.AlreadyExistsError),
        (409, "Conflict", errors.ConflictError),
        (410, "Expired", errors.GoneError),
        (422, "Invalid", errors.InvalidError),
        (429, "TooManyRequests", errors.TooManyRequestsError),
        (405, "MethodNotAllowed", errors.ApiError),
    ],
)
@pytest.mark.parametrize("is_write", [True, False])
def test_each_answer_has_its_error(code: int, reason: str, kind: type[errors.ApiError], is_write: bool) -> None:
    error = errors.from_response(code, status(reason), retry_after=None, is_write=is_write)
    assert type(error) is kind
    assert str(error) == f"because ({code} {reason})"


def test_a_write_that_names_another_uid_meets_the_successor_of_what_it_meant() -> None:
    answer = status("Invalid", causes=[{"reason": "FieldValueInvalid", "field": "metadata.uid"}])
    assert type(errors.from_response(422, answer, retry_after=None, is_write=True)) is errors.ConflictError


@pytest.mark.parametrize("code", [500, 502, 503, 504])
def test_a_server_error_leaves_a_write_uncertain(code: int) -> None:
    answer = status("InternalError")
    assert type(errors.from_response(code, answer, retry_after=None, is_write=True)) is errors.UnknownOutcomeError
    assert type(errors.from_response(code, answer, retry_after=None, is_write=False)) is errors.ServerError


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [("7", {}, 7), (None, {"retryAfterSeconds": 3}, 3), ("7", {"retryAfterSeconds": 3}, 7), (None, {}, None)],
)
def test_the_wait_that_the_server_asks_for(header: str | None, details: dict[str, object], seconds: int | None) -> None:
    answer = status("TooManyRequests", **details)
    assert errors.from_response(429, answer, retry_after=header, is_write=False).retry_after == seconds


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b"[]", b"\xff\xfe"])
def test_an_answer_that_is_no_status_is_still_an_error(body: bytes) -> None:
    error = errors.from_response(502, body, retry_after="tomorrow", is_write=False)
    assert (error.status, error.reason, error.retry_after) == (502, "Unknown", None)
    assert error.message


def test_paths() -> None:
    assert PODS.path(("ns", "a")) == "/api/v1/namespaces/ns/pods/a"
    assert PODS.collection() == "/api/v1/pods"
    assert NAMESPACES.path(("", "ns")) == "/api/v1/namespaces/ns"
    assert NAMESPACES.path(("ignored", "ns")) == "/api/v1/namespaces/ns"
    assert LEASES.path(("ns", "l")) == "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l"
    sessions = "/apis/agentsession.io/v1alpha1/namespaces/ns/agentsessions"
    assert AGENTSESSIONS.path(("ns", "a"), "status") == f"{sessions}/a/status"
    assert AGENTSESSIONS.path(("ns", "a?b#c d")) == f"{sessions}/a%3Fb%23c%20d"


@pytest.mark.parametrize(
    "key", [("ns", ".."), ("ns", "."), ("ns", ""), ("ns", "a/b"), ("ns", "%2e%2e"), ("..", "a"), ("", "a")]
)
def test_a_name_never_leads_to_another_path(key: tuple[str, str]) -> None:
    with pytest.raises(errors.InvalidError):
        PODS.path(key)
