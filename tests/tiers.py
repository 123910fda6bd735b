"""Runs the static checks, then pytest over the tiers asked for; pytest's summary closes the output."""

import argparse
import subprocess
import sys
from pathlib import Path

from devcluster import binaries
from devcluster.errors import DevclusterError

STATIC = (
    ("ruff", "format", "--check", "--quiet", "."),
    ("ruff", "check", "--quiet", "."),
    ("mypy",),
    ("lint-imports",),
    ("python", "-m", "agentsession.generate", "--check"),
)
PROGRAMS = {
    "unit": ["helm", "kubeconform"],
    "apiserver": ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"],
    "kwok": [*binaries.CONTROL_PLANE, "helm", "kwok"],
    "node": [],
}
"""What a tier's tests start, built beforehand so that no test waits for a build. devcluster sees to the node's own."""

PARALLEL = ("--numprocesses=auto", "--maxprocesses=4")
"""The tests of the one node are run by one process (tests/conftest.py); each has a control plane of its own."""


def main() -> int:
    """The command line. 1 means that a check or a test failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.tiers", description=__doc__)
    parser.add_argument("tier", nargs="*", choices=[[], *PROGRAMS], help="which; none: static checks only")
    tiers = parser.parse_args().tier
    checked = [_run(str(Path(sys.executable).parent / command[0]), *command[1:]) for command in STATIC]
    if not tiers:
        return 0 if all(checked) else 1
    try:
        binaries.resolve([name for tier in tiers for name in PROGRAMS[tier]])
    except DevclusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    tested = _run(sys.executable, "-m", "pytest", *PARALLEL, "-m", " or ".join(tiers), "--durations=10", "-r", "fE")
    return 0 if all(checked) and tested else 1


def _run(*command: str) -> bool:
    print("$", Path(command[0]).name, *command[1:], flush=True)
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
