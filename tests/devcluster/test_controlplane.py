"""A real control plane: started, killed, started again, stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devcluster import processes
from devcluster.controlplane import ControlPlane
from devcluster.images import REPOSITORY
from devcluster.kubectl import kubectl

pytestmark = pytest.mark.apiserver


def ask(plane: ControlPlane, *arguments: str) -> str:
    return kubectl(plane.kubeconfig, *arguments)


def test_killed_parts_are_repaired_and_nothing_is_lost(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "cluster") as plane:
        ask(plane, "create", "configmap", "kept", "--from-literal=a=b")
        before = processes.components(plane.state)
        processes.kill(plane.state, {"etcd", "kube-apiserver"}.__contains__)
        plane.start()
        after = processes.components(plane.state)
        assert ask(plane, "get", "configmap", "kept", "--output=jsonpath={.data.a}") == "b"
    changed = {name for name in before if before[name].pid != after[name].pid}
    assert changed == {"etcd", "kube-apiserver"}
    assert processes.owned(plane.state) == []
    assert [path.name for path in plane.state.iterdir()] == ["logs"]


def test_two_side_by_side_are_two_clusters(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "one") as one, ControlPlane(tmp_path / "two") as two:
        ask(one, "create", "namespace", "only-in-one")
        assert "only-in-one" in ask(one, "get", "namespaces", "--output=name")
        assert "only-in-one" not in ask(two, "get", "namespaces", "--output=name")
        one.stop()
        ask(two, "get", "serviceaccount", "default")


def test_an_interrupted_start_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "cluster"
    with subprocess.Popen(
        [sys.executable, "-m", "devcluster", "up", "--control-plane"],
        cwd=REPOSITORY,
        env={**os.environ, "DEVCLUSTER_STATE": str(state)},
        stderr=subprocess.PIPE,
        text=True,
    ) as starting:
        assert starting.stderr is not None
        assert any("starting etcd" in line for line in starting.stderr)  # read until it runs
        starting.terminate()
        assert "taking down what was started" in starting.stderr.read()
    assert starting.returncode == 130
    assert processes.owned(state) == []
    assert [path.name for path in state.iterdir()] == ["logs"]
