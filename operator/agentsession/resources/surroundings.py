"""Addresses of this installation and cluster that a runner pod is built with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Surroundings:
    """Found once, when the operator starts: Services keep their ClusterIP."""

    egress_ip: str
    canary_ip: str
    api_server: str
    """host:port under which pods find the API server, the ClusterIP of the Service `kubernetes`."""
