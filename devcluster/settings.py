"""Where devcluster keeps things, and the addresses that its cluster uses."""

import os
from pathlib import Path

LOOPBACK = "127.0.0.1"

NODE_NAME = "devcluster"
BRIDGE = "devcluster0"
POD_CIDR = "10.244.0.0/24"
NODE_IP = "10.244.0.1"
"""The bridge's own address: node, API server and CoreDNS listen on it, so pods reach them and the LAN does not."""

SERVICE_CIDR = "10.96.0.0/16"
KUBERNETES_SERVICE_IP = "10.96.0.1"
DNS_IP = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"

KUBELET_PORT = 10250
DNS_PORT = 1053

RUN_DIR = Path("/run/devcluster")
"""The node's sockets. Short, because a socket's path has 107 bytes at most and the user chooses the state folder."""


def cache_dir() -> Path:
    """Holds what is worth keeping between clusters: binaries, base image, image archives."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentsession"


def state_dir() -> Path:
    """Holds one cluster: $DEVCLUSTER_STATE, or ``cluster`` in the cache folder."""
    return Path(os.environ.get("DEVCLUSTER_STATE") or cache_dir() / "cluster").resolve()
