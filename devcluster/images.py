"""Builds images without a container engine or a registry, and puts them into the cluster's container runtime.

An image's tag is a hash of everything that goes into it, so an unchanged image is found instead of built or imported.
"""

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devcluster import binaries, buildah, files, packages, progress, settings
from devcluster.errors import DevclusterError

REPOSITORY = Path(__file__).parent.parent
KEY_LENGTH = 16
KEPT = 3
"""Archives per name. More than one, because another process may be about to import what it built a moment ago."""

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""This machine's CAs are lent to builds, because only they may be trusted by the way to PyPI from here."""


@dataclass(frozen=True)
class Image:
    """An image by its name in the cluster, and the archive that holds it."""

    reference: str
    archive: Path


def named(name: str, key: str) -> Image:
    """The image of this name and content key."""
    archive = settings.cache_dir() / "images" / f"{name.replace('/', '-')}-{key}.tar"
    return Image(f"localhost/{name}:{key}", archive)


def build(name: str, dockerfile: Path, context: Path, base: Image) -> Image:
    """Builds ``localhost/NAME:KEY`` on top of ``base`` (passed as BASE_IMAGE), unless it exists.

    What the Dockerfile copies is set aside first, so that key and image agree even while somebody edits the sources.

    Raises:
        DevclusterError: a file that the Dockerfile copies is missing, or the build fails.
    """
    packages.ensure(packages.IMAGES)
    folder = settings.cache_dir() / "images"
    with files.locked(folder / ".lock", lambda: progress.say(f"image {name}: another build is running, waiting")):
        staged = folder / "context"
        stage(dockerfile, context, staged)
        image = named(name, content_key(staged, base.reference))
        if not image.archive.exists():
            with progress.step(f"image {image.reference}: building"):
                buildah.clean()
                buildah.require(base.reference, base.archive)
                _bud(image, staged, base)
                save(image, name)
    return image


def save(image: Image, name: str) -> None:
    """Writes a built image to its archive, whole or not at all, and deletes the oldest of its former contents."""
    buildah.push(image.reference, image.archive)
    buildah.remove_others(image.reference)
    same_name = image.archive.parent.glob(f"{name.replace('/', '-')}-{'[0-9a-f]' * KEY_LENGTH}.tar")
    for archive in sorted(same_name, key=lambda path: path.stat().st_mtime)[:-KEPT]:
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


def stage(dockerfile: Path, context: Path, target: Path) -> None:
    """Fills ``target`` with the Dockerfile and what its COPY lines name, without compiled Python."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(dockerfile, target / "Dockerfile")
    for source in copied(dockerfile.read_text()):
        here, there = context / source, target / source
        there.parent.mkdir(parents=True, exist_ok=True)
        if here.is_dir():
            shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        elif here.exists():
            shutil.copy2(here, there)
        else:
            raise DevclusterError(f"{dockerfile} copies {source}, which is not in {context}.")


def copied(dockerfile: str) -> list[str]:
    """The paths in the build context that a Dockerfile's COPY lines take (not those from another stage)."""
    lines = re.findall(r"^\s*COPY\s+(.+)$", dockerfile.replace("\\\n", " "), re.MULTILINE)
    words = [line.split() for line in lines if "--from=" not in line]
    return [word for line in words for word in line[:-1] if not word.startswith("--")]


def content_key(staged: Path, base: str) -> str:
    """A hash of the base image and of every staged file's path, executable bit and content."""
    digest = hashlib.sha256(base.encode())
    for path in sorted(staged.rglob("*")):
        if path.is_file():
            executable = bool(path.stat().st_mode & 0o111)
            digest.update(f"\n{path.relative_to(staged)} {executable} ".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:KEY_LENGTH]


def _bud(image: Image, staged: Path, base: Image) -> None:
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
        f"--tag={image.reference}",
        str(staged),
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
