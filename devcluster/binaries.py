"""Finds each Go program: named by the environment, on PATH at the pinned minor version, or built from the module proxy.

Versions have one source, the ``go.mod`` of the program's family under ``devcluster/go``.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster import files, progress, settings
from devcluster.errors import DevclusterError

GO_MODULES = Path(__file__).parent / "go"
MINIMUM_GO = (1, 26)


@dataclass(frozen=True)
class Binary:
    """A program, the folder that pins it, its main package, and its cold build time on two cores in seconds."""

    name: str
    family: str
    package: str
    cold_seconds: int
    version_command: tuple[str, ...] = ()
    """Arguments that print its version; empty: a program of this name on PATH is not asked and not used."""
    tags: str = ""


def _kubernetes(name: str, cold_seconds: int, *version_command: str) -> Binary:
    return Binary(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", cold_seconds, version_command or ("--version",))


def _containerd(name: str, cold_seconds: int) -> Binary:
    package = f"github.com/containerd/containerd/v2/cmd/{name}"
    return Binary(name, "containerd", package, cold_seconds, ("--version",), "no_btrfs,no_devmapper,no_zfs")


CATALOGUE = {
    binary.name: binary
    for binary in (
        Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3", 44, ("--version",)),
        _kubernetes("kube-apiserver", 293),
        _kubernetes("kube-controller-manager", 82),
        _kubernetes("kube-scheduler", 6),
        _kubernetes("kubectl", 47, "version", "--client"),
        _kubernetes("kubelet", 23),
        _kubernetes("kube-proxy", 20),
        _containerd("containerd", 66),
        _containerd("containerd-shim-runc-v2", 3),
        _containerd("ctr", 3),
        Binary("kube-router", "kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", 115),
        Binary("coredns", "coredns", "github.com/coredns/coredns", 118, ("-version",)),
        Binary("local-path-provisioner", "local-path", "github.com/rancher/local-path-provisioner", 101),
        Binary("helm", "helm", "helm.sh/helm/v4/cmd/helm", 135, ("version", "--short")),
        Binary("kubeconform", "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", 10, ("-v",)),
        Binary(
            "agent-sandbox-controller", "agent-sandbox", "sigs.k8s.io/agent-sandbox/cmd/agent-sandbox-controller", 147
        ),
        Binary("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", 116, ("--version",)),
    )
}

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE = (
    *CONTROL_PLANE,
    "kubelet",
    "kube-proxy",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "kube-router",
    "coredns",
    "local-path-provisioner",
)


def version(binary: Binary) -> str:
    """The version that go.mod requires of the module that holds the binary's package, such as ``v1.36.3``."""
    text = (GO_MODULES / binary.family / "go.mod").read_text()
    required: list[tuple[str, str]] = re.findall(r"^(?:require )?\s*(\S+) (v\S+)", text, re.MULTILINE)
    holding = [(m, v) for m, v in required if binary.package == m or binary.package.startswith(f"{m}/")]
    return max(holding, key=lambda pair: len(pair[0]))[1]


def resolve(names: Iterable[str]) -> dict[str, Path]:
    """Finds or builds the named programs, one progress line for each that has to be built.

    Raises:
        DevclusterError: an environment variable names no program, Go is missing or too old, or a build fails.
    """
    wanted = [CATALOGUE[name] for name in names]
    found: dict[str, Path] = {}
    for number, binary in enumerate(wanted, 1):
        path = _from_environment(binary, os.environ) or _from_path(binary)
        found[binary.name] = path or _built(binary, f"[{number}/{len(wanted)}]")
    return found


def _from_environment(binary: Binary, environment: Mapping[str, str]) -> Path | None:
    variable = f"DEVCLUSTER_{binary.name.upper().replace('-', '_')}"
    if not (named := environment.get(variable)):
        return None
    if not os.access(named, os.X_OK):
        raise DevclusterError(f"{variable}={named} is not an executable file. Correct it or unset it.")
    return Path(named).resolve()


def _from_path(binary: Binary) -> Path | None:
    found = shutil.which(binary.name)
    if not found or not binary.version_command:
        return None
    try:
        asked = subprocess.run(
            [found, *binary.version_command], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(found).resolve() if same_minor(asked.stdout, version(binary)) else None


def same_minor(printed: str, pinned: str) -> bool:
    """Whether the first version in a program's output has the major and minor number of the pinned one."""
    found = re.search(r"\bv?(\d+)\.(\d+)", printed)
    return found is not None and pinned.lstrip("v").split(".")[:2] == list(found.groups())


def _built(binary: Binary, counter: str) -> Path:
    pinned = version(binary)
    target = settings.cache_dir() / "bin" / f"{binary.name}-{pinned}"
    if target.exists():
        return target
    label = f"{counter} {binary.name} {pinned}"
    lock = target.with_name(f".{binary.name}.lock")
    with files.locked(lock, lambda: progress.say(f"{label}: another process builds it, waiting")):
        if not target.exists():
            require_go()
            with progress.step(f"{label}: building (about {binary.cold_seconds} s cold)"):
                _build(binary, pinned, target)
    return target


def _build(binary: Binary, pinned: str, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    result = subprocess.run(
        build_command(binary, pinned, temporary),
        cwd=GO_MODULES / binary.family,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise DevclusterError(f"go build of {binary.name} {pinned} failed:\n{result.stderr[-2000:]}")
    temporary.replace(target)


def build_command(binary: Binary, pinned: str, output: Path) -> list[str]:
    """The ``go build`` command line; Kubernetes gets its version stamped in, or kubectl would say v0.0.0."""
    linker = "-s -w"
    if binary.family == "kubernetes":
        major, minor, _ = pinned.lstrip("v").split(".", 2)
        package = "k8s.io/component-base/version"
        stamps = {"gitVersion": pinned, "gitMajor": major, "gitMinor": minor}
        linker += "".join(f" -X {package}.{name}={value}" for name, value in stamps.items())
    tags = ["-tags", binary.tags] if binary.tags else []
    flags = ["-trimpath", "-mod=readonly", "-ldflags", linker, *tags]
    return ["go", "build", *flags, "-o", str(output), binary.package]


def require_go() -> None:
    """Checks the Go toolchain.

    Raises:
        DevclusterError: there is none, or it is older than the pinned modules need.
    """
    needed = ".".join(map(str, MINIMUM_GO))
    advice = f"Install Go {needed} or newer and put it first on PATH."
    if not (go := shutil.which("go")):
        raise DevclusterError(f"Go is not on PATH, and Kubernetes has to be built. {advice}")
    printed = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", printed)
    if not found or (int(found[1]), int(found[2])) < MINIMUM_GO:
        raise DevclusterError(f"{go} is too old for the pinned modules (it says: {printed.strip()}). {advice}")
