"""Brings the whole cluster up, takes it down, and says how it is."""

import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster import (
    baseimage,
    binaries,
    components,
    control_components,
    controlplane,
    dns,
    images,
    layout,
    leftovers,
    mounts,
    network,
    node_components,
    node_config,
    packages,
    processes,
    progress,
    settings,
)
from devcluster.errors import DevclusterError
from devcluster.images import Image
from devcluster.kubectl import kubectl
from devcluster.layout import Layout

FOLDERS = (*controlplane.FOLDERS, "cni", "containerd", "kubelet", "pod-logs", "volumes")
"""What ``down`` deletes of the state folder; logs stay until the next ``up``."""

READY_TIMEOUT = 60
"""Seconds."""


@dataclass(frozen=True)
class Health:
    """One component as ``status`` shows it; ``pid`` is None if it does not run."""

    name: str
    pid: int | None
    healthy: bool
    log: Path


def up(state: Path) -> Layout:
    """Starts control plane and node, or repairs them; returns when the node is ready and names resolve.

    A first start that fails or is interrupted is taken down again.

    Raises:
        DevclusterError: something needed is absent, or a component does not start.
    """
    if os.geteuid() != 0:
        raise DevclusterError("A node needs root. As another user, use: python -m devcluster up --control-plane")
    packages.ensure(packages.NODE)
    programs = binaries.resolve(binaries.NODE)
    base = baseimage.build()
    with controlplane.starting(state, _down):
        return _up(state, programs, base)


def _up(state: Path, programs: Mapping[str, Path], base: Image) -> Layout:
    _refuse_other_kubelet(state)
    made = layout.create(state, settings.NODE_IP)
    network.ensure(state)
    node_config.write(made, programs, base.reference)
    runtime, kubelet, *services = node_components.all_components(made, programs, base.reference)
    components.ensure(made, [runtime])
    images.load(base)
    controlplane.ensure(made, programs)
    this_node = f"node/{settings.NODE_NAME}"
    kubectl(made.kubeconfig, "apply", "--server-side", "--filename=-", stdin=node_config.addons(base.reference))
    components.ensure(made, [kubelet])
    _wait(made, "--for=create", this_node)  # kube-router ends without its node
    components.ensure(made, services)
    with progress.step("waiting for node and DNS"):
        _wait(made, "--for=condition=Ready", this_node)
        _await_dns()
    return made


def down(state: Path) -> None:
    """Kills the cluster's processes and containers, unmounts, and deletes all but the logs. Works on leftovers."""
    with controlplane.lock(state):
        _down(state)


def _down(state: Path) -> None:
    made = layout.load(state)
    processes.kill(state, "kubelet".__eq__)  # first, or it would start pods anew
    processes.kill(state)
    if made is not None and made.host == settings.NODE_IP:
        for folder in (state, settings.RUN_DIR):
            mounts.release(folder)
        shutil.rmtree(settings.RUN_DIR, ignore_errors=True)
        network.remove(state)
        leftovers.remove_cgroups("kubepods")
        leftovers.remove_log_links(state)
    controlplane.forget(state, FOLDERS)


def status(state: Path) -> list[Health]:
    """The health of each component that this cluster should have; empty if there is no cluster."""
    made = layout.load(state)
    if made is None:
        return []
    names = {name: Path(name) for name in binaries.CATALOGUE}  # what runs is asked, not what would be started
    wanted = control_components.all_components(made, names)
    if made.host == settings.NODE_IP:
        wanted += node_components.all_components(made, names, "")
    running = processes.components(state)
    return [
        Health(
            component.name,
            running[component.name].pid if component.name in running else None,
            component.name in running and components.healthy(made, component),
            made.log(component.name),
        )
        for component in wanted
    ]


def _refuse_other_kubelet(state: Path) -> None:
    if "kubelet" in processes.components(state):
        return
    with socket.socket() as probe:
        try:
            probe.bind(("", settings.KUBELET_PORT))
        except OSError as error:
            raise DevclusterError(
                f"Port {settings.KUBELET_PORT} is taken, it seems by another kubelet. A machine can be one node only: "
                "stop that cluster, or point KUBECONFIG at it and use it instead of this one."
            ) from error


def _wait(made: Layout, *arguments: str) -> None:
    kubectl(made.kubeconfig, "wait", *arguments, f"--timeout={READY_TIMEOUT}s")


def _await_dns() -> None:
    name = f"kubernetes.default.svc.{settings.CLUSTER_DOMAIN}"
    deadline = time.monotonic() + READY_TIMEOUT
    while not dns.answers(settings.DNS_IP, name):
        if time.monotonic() > deadline:
            raise DevclusterError(
                f"{settings.DNS_IP} does not answer for {name}. See the logs of coredns and kube-proxy."
            )
        time.sleep(components.POLL)
