"""The node's bridge and what the kernel needs around it; and the removal of all that the cluster left in the kernel."""

import json
import re
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

from devcluster import files, packages, settings
from devcluster.errors import DevclusterError

SYSCTLS = {"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1"}
MODULES = ("br_netfilter", "overlay")

OWN_CHAIN = r"(?:KUBE|CNI)-\S+"
"""The chains of kubelet, kube-proxy and kube-router, and those of the CNI plugins."""

QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
"""Comments, in which anything may stand."""

OWN_SET = re.compile(r"(?:inet6:)?(?:KUBE|kube-router)-")


def ensure(state: Path) -> None:
    """Loads modules, sets sysctls (the old values go to ``state``), creates the bridge with the node's address.

    Raises:
        DevclusterError: another interface already has addresses of the pod network.
    """
    for module in MODULES:
        _try("modprobe", module)  # may be built in
    _refuse_foreign_addresses()
    saved = state / "sysctl.json"
    if not saved.exists():
        files.write(saved, json.dumps({name: _sysctl(name).read_text().strip() for name in SYSCTLS}))
    for name, value in SYSCTLS.items():
        _sysctl(name).write_text(value)
    if not (Path("/sys/class/net") / settings.BRIDGE).exists():
        _run("ip", "link", "add", settings.BRIDGE, "type", "bridge")
    prefix = ip_network(settings.POD_CIDR).prefixlen
    _run("ip", "address", "replace", f"{settings.NODE_IP}/{prefix}", "dev", settings.BRIDGE)
    _run("ip", "link", "set", settings.BRIDGE, "up")


def remove(state: Path) -> None:
    """Deletes bridge, own chains, own sets and cached addresses, and puts the sysctls back. Works on leftovers."""
    _try("ip", "link", "delete", settings.BRIDGE)
    for family in ("iptables", "ip6tables"):
        if packages.find(family) and (script := removal_script(_run(f"{family}-save"))):
            _run(f"{family}-restore", "--noflush", stdin=script)
    if packages.find("ipset"):
        sets = [name for name in _run("ipset", "list", "-name").splitlines() if OWN_SET.match(name)]
        for command in ("flush", "destroy"):  # a set of sets holds its members until it is flushed
            for name in sets:
                _run("ipset", command, name)
    for result in Path("/var/lib/cni/results").glob("devcluster-*"):
        result.unlink()
    saved = state / "sysctl.json"
    if saved.exists():
        for name, value in json.loads(saved.read_text()).items():
            _sysctl(name).write_text(value)
        saved.unlink()


def removal_script(saved: str) -> str:
    """Input for ``iptables-restore --noflush`` that removes own chains, and the rules elsewhere that jump to them.

    Takes the output of ``iptables-save``; empty if there is nothing of ours in it.
    """
    script: list[str] = []
    table: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            table = [line]
        elif line == "COMMIT":
            if len(table) > 1:
                script += [*_ordered(table), "COMMIT", ""]
        elif chain := re.match(rf":({OWN_CHAIN}) ", line):
            table += [f"-F {chain[1]}", f"-X {chain[1]}"]
        elif re.match(rf"-A (?!{OWN_CHAIN} )\S+ .*-[jg] {OWN_CHAIN}(?: |$)", QUOTED.sub("", line)):
            table.append(f"-D{line[2:]}")
    return "\n".join(script)


def _ordered(table: list[str]) -> list[str]:
    """A chain can be deleted only when no rule jumps to it: rules first, then what chains hold, then chains."""
    rank = {"*": 0, "-D": 1, "-F": 2, "-X": 3}
    return sorted(table, key=lambda line: rank["*" if line.startswith("*") else line[:2]])


def _refuse_foreign_addresses() -> None:
    network = ip_network(settings.POD_CIDR)
    for interface in json.loads(_run("ip", "-json", "-4", "address")):
        for address in interface.get("addr_info", []):
            if interface["ifname"] != settings.BRIDGE and ip_address(address["local"]) in network:
                raise DevclusterError(
                    f"Interface {interface['ifname']} has {address['local']}, which lies in the pod network "
                    f"{network}. Another Kubernetes seems to run here; remove it or use a machine of its own."
                )


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _try(*command: str) -> bool:
    program = packages.find(command[0]) or command[0]
    return subprocess.run([program, *command[1:]], capture_output=True, check=False).returncode == 0


def _run(*command: str, stdin: str = "") -> str:
    program = packages.find(command[0]) or command[0]
    result = subprocess.run([program, *command[1:]], input=stdin, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"{' '.join(command)} failed: {result.stderr.strip()}")
    return result.stdout
