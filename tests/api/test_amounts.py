"""Values as numbers: what is compared must be read as Kubernetes reads it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from agentsession.api.values import amount, parse_duration

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", "2"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        ("1k", "1000"),
        ("1M", "1000000"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("1G", "1000000000"),
        ("1Mi", "1048576"),
        ("1T", "1000000000000"),
        ("1Ti", "1099511627776"),
    ],
)
def test_amount(text: str, number: str) -> None:
    assert amount(text) == Decimal(number)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("1h5s", 3605), ("0010m", 600)])
def test_duration(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
