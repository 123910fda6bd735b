"""The rendered configuration: what would break a node silently."""

import tomllib
from pathlib import Path

import pytest
import yaml

from devcluster import control_components, layout, node_components, node_config, settings
from devcluster.layout import Layout

pytestmark = pytest.mark.unit

PROGRAMS = {name: Path("/programs") / name for name in layout.PORT_USERS} | {
    name: Path("/programs") / name
    for name in ("kubelet", "containerd", "containerd-shim-runc-v2", "local-path-provisioner")
}


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    return Layout(tmp_path, settings.NODE_IP, {user: 20000 + n for n, user in enumerate(layout.PORT_USERS)})


def test_containerd_runs_without_cap_sys_resource_and_pulls_no_sandbox(made: Layout) -> None:
    plugins = tomllib.loads(node_config.containerd_config(made, PROGRAMS, "localhost/base:1"))["plugins"]
    runtime = plugins["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["containerd"]["runtimes"]["runc"]["runtime_path"] == "/programs/containerd-shim-runc-v2"
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == "localhost/base:1"


def test_shims_are_not_mistaken_for_containerd(made: Layout) -> None:
    plugins = tomllib.loads(node_config.containerd_config(made, PROGRAMS, "localhost/base:1"))["plugins"]
    assert plugins["io.containerd.shim.v1.manager"]["env"] == ["DEVCLUSTER_COMPONENT=containerd-shim"]


def test_dns_forwards_only_where_the_host_has_a_resolver(made: Layout) -> None:
    assert "forward . /etc/resolv.conf" in node_config.corefile(made, "search example.test\nnameserver 127.0.0.53\n")
    assert "forward ." not in node_config.corefile(made, "# nameserver 127.0.0.53\n")


def test_addons_are_complete_and_know_the_image(made: Layout) -> None:
    objects = {found["kind"]: found for found in yaml.safe_load_all(node_config.addons("localhost/base:1"))}
    assert objects["Service"]["spec"]["clusterIP"] == settings.DNS_IP
    assert objects["EndpointSlice"]["endpoints"][0]["addresses"] == [settings.NODE_IP]
    helper = yaml.safe_load(objects["ConfigMap"]["data"]["helperPod.yaml"])
    assert helper["spec"]["containers"][0]["image"] == "localhost/base:1"
    assert '"$VOL_DIR"' in objects["ConfigMap"]["data"]["setup"]


def test_nothing_is_served_beyond_loopback_and_bridge(made: Layout) -> None:
    probes = [
        component.probe
        for component in (
            *control_components.all_components(made, PROGRAMS),
            *node_components.all_components(made, PROGRAMS, "localhost/base:1"),
        )
    ]
    hosts = {probe.split("/")[2].split(":")[0] for probe in probes if probe.startswith("http")}
    assert hosts == {settings.LOOPBACK, settings.NODE_IP}
    assert node_config.kubelet_config(made)["address"] == settings.NODE_IP


def test_components_have_names_of_their_own(made: Layout) -> None:
    names = [
        component.name
        for component in (
            *control_components.all_components(made, PROGRAMS),
            *node_components.all_components(made, PROGRAMS, "localhost/base:1"),
        )
    ]
    assert len(names) == len(set(names)) == 10


@pytest.mark.parametrize(("host", "reconciler"), [(settings.NODE_IP, "lease"), (settings.LOOPBACK, "none")])
def test_the_kubernetes_service_has_an_endpoint_only_with_a_node(tmp_path: Path, host: str, reconciler: str) -> None:
    ports = dict.fromkeys(layout.PORT_USERS, 1)
    argv = control_components.api_server(Layout(tmp_path, host, ports), PROGRAMS).argv
    assert f"--endpoint-reconciler-type={reconciler}" in argv
