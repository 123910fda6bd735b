"""Which apt packages are asked for."""

import os
from pathlib import Path

import pytest

from devcluster import packages
from devcluster.errors import DevclusterError

pytestmark = pytest.mark.unit


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(packages, "SBIN", str(tmp_path / "sbin"))
    monkeypatch.setattr(packages, "CNI_FOLDERS", (tmp_path / "cni",))
    return tmp_path


def install(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o755)


def test_without_root_the_absent_packages_are_named(empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    install(empty_machine / "bin/runc")
    with pytest.raises(DevclusterError) as error:
        packages.ensure(packages.NODE)
    assert "conntrack containernetworking-plugins iproute2 ipset iptables kmod." in str(error.value)
    assert "runc" not in str(error.value)


def test_nothing_is_installed_when_all_is_there(empty_machine: Path) -> None:
    for program in packages.NODE:
        folder = "cni" if program == "bridge" else "sbin"
        install(empty_machine / folder / program)
    packages.ensure(packages.NODE)  # the PATH has no apt-get: an attempt would raise
