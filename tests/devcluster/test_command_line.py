"""The command line, as a user meets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devcluster.images import REPOSITORY

pytestmark = pytest.mark.unit


def devcluster(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devcluster", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DEVCLUSTER_STATE": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["up", "down", "status", "kubeconfig", "images", "binary"])
def test_each_command_explains_itself(tmp_path: Path, command: str) -> None:
    result = devcluster(tmp_path, command, "--help")
    assert result.returncode == 0
    assert f"usage: python -m devcluster {command}" in result.stdout


def test_status_without_a_cluster_says_so_and_fails(tmp_path: Path) -> None:
    result = devcluster(tmp_path / "none", "status")
    assert result.returncode == 1
    assert result.stdout == f"no cluster in {tmp_path / 'none'}\n"


def test_kubeconfig_without_a_cluster_says_how_to_get_one(tmp_path: Path) -> None:
    result = devcluster(tmp_path / "none", "kubeconfig")
    assert result.returncode == 1
    assert result.stderr == "error: There is no cluster; start it: python -m devcluster up\n"


def test_down_without_a_cluster_is_no_error_and_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    assert devcluster(tmp_path, "down").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["etcd"]
