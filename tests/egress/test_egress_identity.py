"""Whom the API server vouches for."""

import jwt
import pytest

from agentsession.egress.identity import ReviewStatus, is_service_account_token, reviewed
from agentsession.egress.refusal import Refusal
from agentsession.keys.identity import Identity

from . import build

pytestmark = pytest.mark.unit

EXTRA = {"authentication.kubernetes.io/pod-uid": ["pod-a"], "authentication.kubernetes.io/pod-name": ["a"]}
USER = {"username": "system:serviceaccount:team:agentsession-runner", "extra": EXTRA}
GOOD = {"authenticated": True, "audiences": ["agentsession-egress"], "user": USER}


def test_a_runner_gets_the_identity_of_its_pod() -> None:
    assert reviewed(ReviewStatus.model_validate(GOOD), build.ADDRESS) == build.identity()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"authenticated": False}, 401),
        ({"audiences": []}, 401),
        ({"audiences": ["https://kubernetes.default.svc"]}, 401),
        ({"user": {**USER, "username": "system:serviceaccount:team:default"}}, 403),
        ({"user": {**USER, "username": "system:serviceaccount:team:agentsession-runner:x"}}, 403),
        ({"user": {**USER, "username": "agentsession-runner"}}, 403),
        ({"user": {**USER, "extra": {}}}, 403),
        ({"user": {**USER, "extra": {**EXTRA, "authentication.kubernetes.io/pod-uid": ["pod-a", "pod-b"]}}}, 403),
    ],
)
def test_nobody_else_does(changes: dict[str, object], status: int) -> None:
    refusal = reviewed(ReviewStatus.model_validate(GOOD | changes), build.ADDRESS)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status


@pytest.mark.parametrize(
    ("audience", "expected"),
    [("agentsession-egress", True), (["x", "agentsession-egress"], True), (["x"], False), ("x", False)],
)
def test_only_tokens_for_us_are_taken_to_the_api_server(audience: object, expected: bool) -> None:
    token = jwt.encode({"aud": audience}, "k" * 32, algorithm="HS256")
    assert is_service_account_token(token) is expected


def test_an_identity_is_no_service_account_token() -> None:
    assert not is_service_account_token(build.token())
    assert not is_service_account_token("nonsense")
    assert isinstance(build.identity(), Identity)
