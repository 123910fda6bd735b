"""Runs tiers of checks and tests one after the other, and prints how long each took.

pytest's own summary of the last run closes the output.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from devcluster import binaries
from devcluster.errors import DevclusterError

LINT = (
    ("ruff", "format", "--check", "--quiet", "."),
    ("ruff", "check", "--quiet", "."),
    ("mypy",),
    ("lint-imports",),
    ("python", "-m", "agentsession.generate", "--check"),
)
TIERS = ("unit", "apiserver", "node")
NEEDED = {
    "unit": ["helm", "kubeconform"],
    "apiserver": ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"],
}
"""Programs that a tier's tests start, built beforehand so that no test waits for a build."""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.tiers", description=__doc__)
    parser.add_argument("tier", nargs="+", choices=("lint", *TIERS), help="which, in this order")
    arguments = parser.parse_args()
    took: dict[str, float] = {}
    failed: list[str] = []
    for tier in arguments.tier:
        print(f"\n=== {tier} ===", flush=True)
        start = time.monotonic()
        if not (_lint() if tier == "lint" else _test(tier)):
            failed.append(tier)
        took[tier] = time.monotonic() - start
    print("\n" + "  ".join(f"{tier}: {seconds / 60:.1f} min" for tier, seconds in took.items()))
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


def _lint() -> bool:
    programs = Path(sys.executable).parent
    return all([_run([str(programs / command[0]), *command[1:]]) for command in LINT])


def _test(tier: str) -> bool:
    try:
        binaries.resolve(NEEDED.get(tier, []))
    except DevclusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    return _run([sys.executable, "-m", "pytest", "-m", tier, "--durations=5", "--no-header", "-r", "fE"])


def _run(command: list[str]) -> bool:
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
