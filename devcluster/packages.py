"""Installs the Debian packages that hold what cannot be built from the Go module proxy."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from devcluster import progress
from devcluster.errors import DevclusterError

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Searched besides PATH: a root shell by ``su`` may lack these."""

NODE = {
    "runc": "runc",
    "bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "modprobe": "kmod",
}
IMAGES = {
    "debootstrap": "debootstrap",
    "buildah": "buildah",
}


def ensure(needed: Mapping[str, str]) -> None:
    """Installs the packages (values) whose programs (keys) are absent.

    Raises:
        DevclusterError: something is absent and this process cannot install it.
    """
    absent = sorted({package for program, package in needed.items() if not find(program)})
    if not absent:
        return
    names = " ".join(absent)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise DevclusterError(
            f"These packages are needed: {names}. Install them, or run this as root on Debian or Ubuntu."
        )
    with progress.step(f"apt packages: installing {names}"):
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *absent)


def find(program: str) -> str | None:
    """The path of an installed program; CNI plugins are looked up in their own folders."""
    folders = [os.environ.get("PATH", os.defpath), SBIN, *map(str, CNI_FOLDERS)]
    return shutil.which(program, path=os.pathsep.join(folders))


def _apt(*arguments: str) -> None:
    result = subprocess.run(
        ["apt-get", "--quiet", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        tail = (result.stdout + result.stderr)[-2000:]
        raise DevclusterError(f"apt-get {' '.join(arguments)} failed:\n{tail}")
