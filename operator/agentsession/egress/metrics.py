"""What the plane counts for Prometheus. Nothing is labelled by session: series would outlive what they are about."""

from decimal import Decimal

from prometheus_client import Counter, Gauge, Histogram

from .usage import Tokens

REQUESTS = Counter(
    "agentsession_egress_requests_total", "Requests of runners by route and class of answer.", ["route", "code"]
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


def count_request(route: str, status: int) -> None:
    """One request answered; `route` is one of the plane's own, never a caller's path."""
    REQUESTS.labels(route, f"{status // 100}xx").inc()


def count_tokens(tokens: Tokens, cost_usd: Decimal) -> None:
    """What one answer used."""
    COST.inc(float(cost_usd))
    for kind in ("input", "cache_creation", "cache_read", "output"):
        TOKENS.labels(kind).inc(getattr(tokens, kind))
