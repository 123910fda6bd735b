"""Which headers pass, in either direction. The lists are open: what is not named here goes through unchanged."""

from collections.abc import Iterator

from multidict import CIMultiDict, CIMultiDictProxy

HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
"""RFC 9110 section 7.6.1, and what `Connection` itself names."""
CREDENTIALS = {"authorization", "x-api-key", "cookie"}
FRAMING = {"host", "content-length", "expect", "accept-encoding"}
FORWARDED = {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
"""Addresses of the cluster are not the provider's business."""


def upstream_headers(received: CIMultiDictProxy[str], key: str) -> CIMultiDict[str]:
    """What the provider gets: the pod's credentials are dropped, the tenant's key is added, nothing is compressed."""
    sent = CIMultiDict(_passing(received, HOP_BY_HOP | CREDENTIALS | FRAMING | FORWARDED))
    sent["x-api-key"] = key
    sent["accept-encoding"] = "identity"  # usage is read from the answer
    return sent


def downstream_headers(received: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """What the runner gets; cookies would be the provider's word to the plane, not to the runner."""
    return CIMultiDict(_passing(received, HOP_BY_HOP | {"content-length", "set-cookie"}))


def _passing(received: CIMultiDictProxy[str], dropped: set[str]) -> Iterator[tuple[str, str]]:
    named = {name.strip().lower() for value in received.getall("connection", []) for name in value.split(",")}
    return ((name, value) for name, value in received.items() if name.lower() not in dropped | named)
