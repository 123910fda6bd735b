"""Runs kubectl against the cluster, as its administrator."""

import subprocess
from pathlib import Path

from devcluster.errors import DevclusterError


def run(kubectl: Path, kubeconfig: Path, *arguments: str, stdin: str = "") -> str:
    """What kubectl printed.

    Raises:
        DevclusterError: it failed; with what it said.
    """
    result = subprocess.run(
        [kubectl, "--kubeconfig", kubeconfig, *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise DevclusterError(f"kubectl {' '.join(arguments)} failed: {result.stderr.strip()}")
    return result.stdout
