"""Which headers pass, in either direction: to the provider those that are named here, from it all but some."""

from multidict import CIMultiDict, CIMultiDictProxy

TO_PROVIDER = {
    "accept",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "content-type",
    "user-agent",
    "x-app",
}
TO_PROVIDER_PREFIXES = ("x-claude-code-", "x-stainless-")
"""What the CLI sends. A header that nobody has looked at might switch on what the screen refuses."""

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


def upstream_headers(received: CIMultiDictProxy[str], key: str) -> CIMultiDict[str]:
    """What the provider gets: nothing of the pod's credentials, the tenant's key, and an answer uncompressed."""
    named = _hop_by_hop(received)
    sent = CIMultiDict(
        (name, value)
        for name, value in received.items()
        if (name.lower() in TO_PROVIDER or name.lower().startswith(TO_PROVIDER_PREFIXES)) and name.lower() not in named
    )
    sent["x-api-key"] = key
    sent["accept-encoding"] = "identity"  # usage is read from the answer
    return sent


def downstream_headers(received: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """What the runner gets; cookies would be the provider's word to the plane, not to the runner."""
    dropped = _hop_by_hop(received) | {"content-length", "set-cookie"}
    return CIMultiDict((name, value) for name, value in received.items() if name.lower() not in dropped)


def _hop_by_hop(received: CIMultiDictProxy[str]) -> set[str]:
    named = {name.strip().lower() for value in received.getall("connection", []) for name in value.split(",")}
    return HOP_BY_HOP | named
