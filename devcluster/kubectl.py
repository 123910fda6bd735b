"""Runs kubectl against a cluster, as whoever the kubeconfig says."""

import subprocess
from pathlib import Path

from devcluster import binaries
from devcluster.errors import DevclusterError


def kubectl(kubeconfig: Path, *arguments: str, stdin: str = "") -> str:
    """What kubectl printed.

    Raises:
        DevclusterError: it failed; with what it said.
    """
    program = binaries.resolve(["kubectl"])["kubectl"]
    command = [str(program), "--kubeconfig", str(kubeconfig), *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"kubectl {' '.join(arguments)} failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout
