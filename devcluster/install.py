"""Installs the chart with helm, as a user would, with images that are already in the cluster."""

import json
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from devcluster import binaries, files, progress, settings
from devcluster.errors import DevclusterError
from devcluster.images import REPOSITORY
from devcluster.kubectl import kubectl

RELEASE = "agentsession"
NAMESPACE = "agentsession-system"
CHART = REPOSITORY / "charts" / "agentsession"

SMALL: dict[str, object] = {
    "runner": {
        "resources": {
            "requests": {"cpu": "50m", "memory": "256Mi", "ephemeral-storage": "100Mi"},
            "limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "2Gi"},
        }
    },
    "operator": {"resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}},
    "egress": {"resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}},
}
"""Values for a machine with two cores: many runners share it, none is promised one."""


def image_values(operator: str, runner: str) -> dict[str, object]:
    """Chart values that name two images by reference, ``repository:tag``."""
    return {"image": _image(operator), "runner": {"image": _image(runner)}}


def merge(*layers: Mapping[str, object]) -> dict[str, object]:
    """Values merged as helm merges files: later layers win, maps are merged."""
    merged: dict[str, object] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def install(kubeconfig: Path, values: Mapping[str, object]) -> None:
    """Installs or upgrades the release and waits until its pods are ready.

    Raises:
        DevclusterError: helm failed; the message is helm's, and what the pods wait for.
    """
    busy = "chart: another process installs it, waiting"
    with (
        files.locked(settings.cache_dir() / ".helm.lock", lambda: progress.say(busy)),
        progress.step("chart: installing"),
    ):
        forget_killed(kubeconfig)
        arguments = ["upgrade", "--install", RELEASE, str(CHART), "--create-namespace", "--values", "-"]
        try:
            helm(kubeconfig, *arguments, "--wait", "--timeout", "2m", stdin=json.dumps(values))
        except DevclusterError as error:
            raise DevclusterError(f"{error}\n{_last_words(kubeconfig)}") from error


def forget_killed(kubeconfig: Path) -> None:
    """Deletes the revision of a helm that was killed at work: any later one would be refused because of it."""
    killed = f"owner=helm,name={RELEASE},status in (pending-install,pending-upgrade,pending-rollback)"
    kubectl(kubeconfig, "delete", "secrets", "--namespace", NAMESPACE, "--selector", killed)


def _last_words(kubeconfig: Path) -> str:
    """Helm only says that a Deployment is not ready: the pods, and the end of each one's log."""
    said = [kubectl(kubeconfig, "get", "pods", "--namespace", NAMESPACE)]
    for pod in kubectl(kubeconfig, "get", "pods", "--namespace", NAMESPACE, "--output", "name").split():
        with suppress(DevclusterError):  # a container that never ran has no log
            said.append(f"{pod}:\n" + kubectl(kubeconfig, "logs", "--namespace", NAMESPACE, pod, "--tail", "3"))
    return "\n".join(said)


def uninstall(kubeconfig: Path) -> None:
    """Removes the release, if it is there; CRDs and their objects stay."""
    helm(kubeconfig, "uninstall", RELEASE, "--ignore-not-found", "--wait")


def helm(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    """Runs helm in the release's namespace. Raises DevclusterError."""
    program = str(binaries.resolve(["helm"])["helm"])
    command = [program, "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE, *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"helm failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def _image(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}
