"""What the plane counts for Prometheus. Nothing is labelled by session: series would outlive what they are about."""

from decimal import Decimal
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from .usage import Tokens

Outcome = Literal["ok", "provider_error", "failed", "cut", "abandoned", "refused"]
"""Answered well; answered by the provider with an error; not answered by it; ended by the plane because its session may
not be served any more; left by the runner; not forwarded."""

REQUESTS = Counter(
    "agentsession_egress_requests_total", "Requests of runners by route and outcome.", ["route", "outcome"]
)
REFUSALS = Counter("agentsession_egress_refusals_total", "Requests not forwarded, by reason.", ["route", "reason"])
FIRST_BYTE = Histogram(
    "agentsession_egress_first_byte_seconds",
    "Time from a request to the first byte of its answer, the provider's share included.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
FIRST_BYTE_ADDED = Histogram(
    "agentsession_egress_first_byte_added_seconds",
    "Time that the plane itself adds before the first byte of an answer.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
EVENTS = Counter("agentsession_egress_events_total", "Streamed events passed on.")
OPEN_STREAMS = Gauge("agentsession_egress_open_streams", "Answers that are being streamed.")
TOKENS = Counter("agentsession_egress_tokens_total", "Tokens billed, by kind.", ["kind"])
COST = Counter("agentsession_egress_cost_usd_total", "List price of the tokens billed, in US dollars.")
LOOKUPS = Counter(
    "agentsession_egress_lookups_total", "Looks past the watches for what an identity names, by result.", ["result"]
)
CONNECTIONS = Gauge("agentsession_egress_connections", "Open connections of runners.")
CONNECTIONS_REFUSED = Counter("agentsession_egress_connections_refused_total", "Connections dropped at their bound.")
HELD = Gauge("agentsession_egress_held_bytes", "Bytes of requests held until the provider has them.")


def count_refusal(route: str, reason: str) -> None:
    """One request refused; `route` is one of the plane's own, never a caller's path."""
    REQUESTS.labels(route, "refused").inc()
    REFUSALS.labels(route, reason).inc()


def count_request(route: str, outcome: Outcome) -> None:
    """One request forwarded, or one of the plane's own answered."""
    REQUESTS.labels(route, outcome).inc()


def count_tokens(tokens: Tokens, cost_usd: Decimal) -> None:
    """What one answer used."""
    COST.inc(float(cost_usd))
    for kind in ("input", "cache_creation", "cache_read", "output"):
        TOKENS.labels(kind).inc(getattr(tokens, kind))
