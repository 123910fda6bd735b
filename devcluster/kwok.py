"""Nodes without machines: kwok plays their kubelets, so that thousands of pods fit beside one API server.

A fake pod's containers never run. Its address is a loopback one, out of its node's range: whoever plays its program
listens there, and nothing ever leaves the machine.
"""

import json
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from devcluster import binaries, components, progress
from devcluster.components import Component
from devcluster.kubectl import kubectl
from devcluster.layout import Layout

STAGES = Path(__file__).with_suffix(".yaml")


def add_nodes(made: Layout, pod_networks: Sequence[IPv4Network]) -> None:
    """A node for each range of pod addresses, ready when this returns. kwok dies with the thread that calls this.

    Of a node's range, kwok gives out every address once and then those of pods that are gone.
    """
    program = binaries.resolve(["kwok"])["kwok"]
    arguments = (
        f"--kubeconfig={made.kubeconfig}",
        f"--config={STAGES}",
        "--manage-all-nodes=true",
        "--node-lease-duration-seconds=40",
        "--v=WARN",
    )
    components.ensure(made, [Component("kwok", (str(program), *arguments))], die_with_parent=True)
    with progress.step(f"adding {len(pod_networks)} nodes"):
        nodes = [_node(f"kwok-{number}", network) for number, network in enumerate(pod_networks, 1)]
        kubectl(made.kubeconfig, "create", "--filename=-", stdin=json.dumps(_list(nodes)))
        kubectl(made.kubeconfig, "wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")


def _node(name: str, network: IPv4Network) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDR": str(network), "podCIDRs": [str(network)]},
    }


def _list(items: Sequence[dict[str, object]]) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "List", "items": items}
