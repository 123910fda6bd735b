"""Builds images without a container engine or a registry, and puts them into the cluster's container runtime.

An image's tag is a hash of everything that goes into it, so an unchanged image is found instead of built or imported.
"""

import hashlib
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster import binaries, buildah, files, packages, progress, settings
from devcluster.errors import DevclusterError

REPOSITORY = Path(__file__).parent.parent
KEY_LENGTH = 16

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""This machine's CAs are lent to builds, because only they may be trusted by the way to PyPI from here."""


@dataclass(frozen=True)
class Image:
    """An image by its name in the cluster, and the OCI archive that holds it."""

    reference: str
    archive: Path


def named(name: str, key: str) -> Image:
    """The image of this name and content key."""
    archive = settings.cache_dir() / "images" / f"{name.replace('/', '-')}-{key}.tar"
    return Image(f"localhost/{name}:{key}", archive)


def build(name: str, dockerfile: Path, context: Path, base: Image) -> Image:
    """Builds ``localhost/NAME:KEY`` on top of ``base`` (passed as BASE_IMAGE), unless it exists.

    Raises:
        DevclusterError: a file that the Dockerfile copies is missing, or the build fails.
    """
    packages.ensure(packages.IMAGES)
    image = named(name, content_key(dockerfile, context, base.reference))
    with files.locked(settings.cache_dir() / "images" / ".lock"):
        if not image.archive.exists():
            with progress.step(f"image {image.reference}: building"):
                buildah.clean()
                buildah.require(base.reference, base.archive)
                _bud(image, dockerfile, context, base)
                save(image, name)
    return image


def save(image: Image, name: str) -> None:
    """Writes a built image to its archive, whole or not at all, and deletes the archives of its former contents."""
    buildah.push(image.reference, image.archive)
    former = f"{name.replace('/', '-')}-{'[0-9a-f]' * KEY_LENGTH}.tar"
    for archive in image.archive.parent.glob(former):
        if archive != image.archive:
            archive.unlink()


def load(image: Image) -> None:
    """Imports the image into the running cluster, unless it is there.

    Raises:
        DevclusterError: no cluster with a node runs, or the import fails.
    """
    if image.reference in _ctr("list", "--quiet").split():
        return
    with progress.step(f"image {image.reference}: importing"):
        _ctr("import", "--local", str(image.archive))


def content_key(dockerfile: Path, context: Path, base: str) -> str:
    """A hash of the base image, the Dockerfile, and every file that its COPY and ADD lines name."""
    digest = hashlib.sha256()
    text = dockerfile.read_text()
    for part in (base, text):
        digest.update(hashlib.sha256(part.encode()).digest())
    for source in copied(text):
        if not (context / source).exists():
            raise DevclusterError(f"{dockerfile} copies {source}, which is not in {context}.")
        for path in sorted(_files(context / source)):
            mode = path.stat().st_mode & 0o111
            digest.update(f"{path.relative_to(context)} {mode:o} ".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:KEY_LENGTH]


def copied(dockerfile: str) -> list[str]:
    """The paths in the build context that a Dockerfile's COPY and ADD lines take."""
    lines = re.findall(r"^\s*(?:COPY|ADD)\s+(.+)$", dockerfile.replace("\\\n", " "), re.MULTILINE)
    words = [line.split() for line in lines if "--from=" not in line]
    return [word for line in words for word in line[:-1] if not word.startswith("--")]


def _files(source: Path) -> Iterable[Path]:
    if source.is_file():
        return [source]
    return (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _bud(image: Image, dockerfile: Path, context: Path, base: Image) -> None:
    pip_conf = settings.cache_dir() / "images" / "pip.conf"
    files.write(pip_conf, f"[global]\ncert = {CA_BUNDLE}\n")
    lent = [(CA_BUNDLE, CA_BUNDLE), (pip_conf, Path("/etc/pip.conf"))] if CA_BUNDLE.exists() else []
    buildah.run(
        "bud",
        "--isolation=chroot",
        "--network=host",
        "--layers",
        "--pull-never",
        *(f"--volume={here}:{there}:ro" for here, there in lent),
        f"--build-arg=BASE_IMAGE={base.reference}",
        f"--file={dockerfile}",
        f"--tag={image.reference}",
        str(context),
    )


def _ctr(*arguments: str) -> str:
    socket = settings.RUN_DIR / "containerd.sock"
    if not socket.exists():
        raise DevclusterError("No cluster with a node is running here; start it: python -m devcluster up")
    ctr = binaries.resolve(["ctr"])["ctr"]
    command = [str(ctr), "--address", str(socket), "--namespace", "k8s.io", "images", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"ctr images {' '.join(arguments)} failed: {result.stderr.strip()}")
    return result.stdout
