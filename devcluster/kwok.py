"""Nodes without machines: kwok plays their kubelets, so that thousands of pods fit beside one API server.

A fake pod's containers never run. Its address is a loopback one: whoever plays its program listens there, and nothing
ever leaves the machine.
"""

import json
from pathlib import Path

from devcluster import binaries, components, files, progress
from devcluster.components import Component
from devcluster.kubectl import kubectl
from devcluster.layout import Layout

STAGES = Path(__file__).with_suffix(".yaml")


def add_nodes(made: Layout, count: int, network: int) -> None:
    """So many nodes, ready when this returns. kwok dies with the thread that calls this.

    A pod has the address 127.NETWORK.X.Y, where X and Y are the number between dashes in its name. One without a number
    has 24 bits of its name's hash: of a thousand pods, two share an address in one run of 34. kwok's own pool of
    addresses gives a pod another one each time that it is looked at before it runs, and now and then two pods the same.
    """
    program = binaries.resolve(["kwok"])["kwok"]
    stages = made.etc / STAGES.name
    files.write(stages, STAGES.read_text().replace("NETWORK", str(network)))
    arguments = (
        f"--kubeconfig={made.kubeconfig}",
        f"--config={stages}",
        "--manage-all-nodes=true",
        "--node-lease-duration-seconds=40",
        "--v=WARN",
    )
    components.ensure(made, [Component("kwok", (str(program), *arguments))], die_with_parent=True)
    with progress.step(f"adding {count} nodes"):
        nodes = [_node(f"kwok-{number}") for number in range(1, count + 1)]
        listed = {"apiVersion": "v1", "kind": "List", "items": nodes}
        kubectl(made.kubeconfig, "create", "--filename=-", stdin=json.dumps(listed))
        kubectl(made.kubeconfig, "wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")


def _node(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
