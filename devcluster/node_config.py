"""The node's configuration files, rendered at each start. Every folder and socket is the cluster's own."""

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

import yaml

from devcluster import files, packages, settings
from devcluster.layout import Layout

SOCKET = settings.RUN_DIR / "containerd.sock"
ADDONS = Path(__file__).parent / "addons.yaml"


def write(made: Layout, programs: Mapping[str, Path], sandbox_image: str) -> None:
    """Renders the configuration files of the node's components."""
    files.write(made.etc / "containerd.toml", containerd_config(made, programs, sandbox_image))
    files.write(made.etc / "cni" / "10-devcluster.conflist", json.dumps(cni_config(made), indent=2))
    files.write(made.etc / "kubelet.yaml", yaml.safe_dump(kubelet_config(made)))
    files.write(made.etc / "Corefile", corefile(made, Path("/etc/resolv.conf").read_text()))
    files.write(made.etc / "local-path.json", json.dumps(local_path_config(made)))


def containerd_config(made: Layout, programs: Mapping[str, Path], sandbox_image: str) -> str:
    """Own folders for everything, and what a root without CAP_SYS_RESOURCE needs (restrict_oom_score_adj).

    Shims get a name of their own, because they inherit containerd's environment, which is how a process is recognised.
    """
    folders = json.dumps([str(folder) for folder in packages.CNI_FOLDERS])
    return f"""\
version = 3
root = '{made.root / "containerd"}'
state = '{settings.RUN_DIR / "containerd"}'
disabled_plugins = ['io.containerd.nri.v1.nri']

[grpc]
  address = '{SOCKET}'

[plugins.'io.containerd.internal.v1.opt']
  path = '{made.root / "containerd" / "opt"}'

[plugins.'io.containerd.shim.v1.manager']
  env = ['DEVCLUSTER_COMPONENT=containerd-shim']
  socket_dir = '{settings.RUN_DIR / "s"}'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{sandbox_image}'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true

  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    runtime_path = '{programs["containerd-shim-runc-v2"]}'

    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '{packages.find("runc")}'
      Root = '{settings.RUN_DIR / "runc"}'

  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = {folders}
    conf_dir = '{made.etc / "cni"}'
"""


def cni_config(made: Layout) -> dict[str, object]:
    """One bridge, addresses from a file, host ports."""
    return {
        "cniVersion": "1.0.0",
        "name": "devcluster",
        "plugins": [
            {
                "type": "bridge",
                "bridge": settings.BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(made.root / "cni"),
                    "ranges": [[{"subnet": settings.POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


def kubelet_config(made: Layout) -> dict[str, object]:
    """Runs on either cgroup version, collects nothing for lack of disk, resolves nothing of the host's.

    What one pod can take of the node is bounded as docs/operations.md asks of any cluster, but for room on the disk: it
    is the host's, and may be short for other reasons."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": settings.NODE_IP,
        "port": settings.KUBELET_PORT,
        "healthzBindAddress": settings.LOOPBACK,
        "healthzPort": made.ports["kubelet-health"],
        "tlsCertFile": made.certificate("kubelet-serving"),
        "tlsPrivateKeyFile": made.key("kubelet-serving"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": made.certificate("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "seccompDefault": True,
        "oomScoreAdj": 0,
        "clusterDNS": [settings.DNS_IP],
        "clusterDomain": settings.CLUSTER_DOMAIN,
        "resolvConf": "",
        "podLogsDir": str(made.root / "pod-logs"),
        "volumePluginDir": str(made.root / "kubelet" / "volume-plugins"),
        "maxPods": 200,
        "podPidsLimit": 1024,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 3,
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "nodefs.available": "0%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "0%",
            "memory.available": "100Mi",
        },
    }


def corefile(made: Layout, resolv_conf: str) -> str:
    """The cluster's names; others go to the host's resolver if it has one. No cache: tests change what names mean."""
    has_resolver = any(line.startswith("nameserver ") for line in resolv_conf.splitlines())
    forward = "    forward . /etc/resolv.conf\n" if has_resolver else ""
    return f"""\
.:{settings.DNS_PORT} {{
    bind {settings.NODE_IP}
    errors
    ready {settings.LOOPBACK}:{made.ports["coredns"]}
    kubernetes {settings.CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {made.kubeconfig} devcluster
    }}
{forward}}}
"""


def local_path_config(made: Layout) -> dict[str, object]:
    """Volumes are folders of the cluster's own folder, and go with it."""
    everywhere = "DEFAULT_PATH_FOR_NON_LISTED_NODES"
    return {"nodePathMap": [{"node": everywhere, "paths": [str(made.root / "volumes")]}]}


def addons(helper_image: str) -> str:
    """Manifests for what runs outside of the cluster: the DNS Service, the StorageClass."""
    return Template(ADDONS.read_text()).substitute(
        dns_ip=settings.DNS_IP, dns_port=settings.DNS_PORT, node_ip=settings.NODE_IP, image=helper_image
    )
