"""Runs buildah on a storage folder of its own, away from the host's containers."""

import os
import subprocess
from pathlib import Path

from devcluster import mounts, settings
from devcluster.errors import DevclusterError


def run(*arguments: str) -> str:
    """What buildah printed.

    Raises:
        DevclusterError: it failed; with the end of what it said.
    """
    storage = _storage()
    folders = ["--root", str(storage), "--runroot", str(storage.with_name("storage-run"))]
    result = subprocess.run(
        ["buildah", *folders, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BUILDAH_FORMAT": "oci"},
    )
    if result.returncode:
        raise DevclusterError(f"buildah {arguments[0]} failed:\n{(result.stdout + result.stderr)[-3000:]}")
    return result.stdout.strip()


def clean() -> None:
    """Removes the working containers and mounts of builds that were killed. Callers hold the images' lock."""
    mounts.release(_storage())
    run("rm", "--all")


def require(reference: str, archive: Path) -> None:
    """Takes an image from its archive into the storage, unless it is there."""
    if reference not in _references():
        run("tag", run("pull", f"docker-archive:{archive}"), reference)


def remove_others(reference: str) -> None:
    """Removes the other tags of an image's name; layers that it shares with them stay, and speed up the next build."""
    name = reference.rpartition(":")[0]
    for other in _references():
        if other.startswith(f"{name}:") and other != reference:
            run("rmi", other)


def push(reference: str, archive: Path) -> None:
    """Writes an image to an archive, whole or not at all.

    In Docker's format, because buildah compresses layers for OCI archives (10 s of CPU for the runner's, instead of 2).
    """
    temporary = archive.with_name(f".{archive.name}.tmp")
    temporary.unlink(missing_ok=True)
    run("push", reference, f"docker-archive:{temporary}:{reference}")
    temporary.replace(archive)


def _references() -> list[str]:
    return run("images", "--format", "{{.Name}}:{{.Tag}}").split()


def _storage() -> Path:
    return settings.cache_dir() / "images" / "storage"
