"""A cluster's folder: made once, found again, never mixed up."""

from pathlib import Path

import pytest
import yaml

from devcluster import layout, settings
from devcluster.errors import DevclusterError

pytestmark = pytest.mark.unit


def test_ports_are_distinct_and_never_ephemeral() -> None:
    ports = layout.free_ports()
    assert set(ports) == set(layout.PORT_USERS)
    assert len(set(ports.values())) == len(ports)
    low, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert max(ports.values()) < int(low)


def test_a_second_start_finds_the_same_cluster(tmp_path: Path) -> None:
    first = layout.create(tmp_path, settings.LOOPBACK)
    assert layout.create(tmp_path, settings.LOOPBACK) == first == layout.load(tmp_path)


def test_a_folder_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    layout.create(tmp_path, settings.LOOPBACK)
    with pytest.raises(DevclusterError, match=r"already holds a control plane alone.*devcluster down"):
        layout.create(tmp_path, settings.NODE_IP)


def test_the_kubeconfig_is_private_and_names_files_that_exist(tmp_path: Path) -> None:
    made = layout.create(tmp_path, settings.LOOPBACK)
    assert made.kubeconfig.stat().st_mode & 0o777 == 0o600
    config = yaml.safe_load(made.kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == made.server
    user = config["users"][0]["user"]
    for file in (user["client-certificate"], user["client-key"]):
        assert Path(file).exists()


def test_an_empty_folder_holds_no_cluster(tmp_path: Path) -> None:
    assert layout.load(tmp_path) is None
