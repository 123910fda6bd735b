"""What is said of a quota, and when what it refused is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from agentsession.kube.errors import ForbiddenError
from agentsession.kube.refusals import LEAST, MOST, explained, next_try

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ('pods "s" is forbidden: exceeded quota: team-a, requested: pods=1, used: pods=5, limited: pods=5', "team-a"),
        ('pods "s" is forbidden: failed quota: compute.small: must specify limits.cpu', "compute.small"),
        ('pods "s" is forbidden: maximum cpu usage per Container is 1, but limit is 2', None),
    ],
)
def test_a_quota_is_named_with_what_to_do(message: str, remedy: str | None) -> None:
    told = explained(ForbiddenError(403, "Forbidden", message))
    after = f": raise ResourceQuota {remedy} or free some of it; tried again every 30 s" if remedy else ""
    assert told == message + after


@pytest.mark.parametrize(
    ("ago", "wait"),
    [(None, LEAST), (0, LEAST), (-60, LEAST), (12, timedelta(seconds=12)), (31, MOST), (86400, MOST)],
)
def test_it_is_tried_soon_and_then_every_half_minute(ago: int | None, wait: timedelta) -> None:
    assert next_try(NOW - timedelta(seconds=ago) if ago is not None else None, NOW) == wait
