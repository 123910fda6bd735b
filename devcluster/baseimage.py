"""The image that all others start from here: a minimal Debian by debootstrap, since no registry is at hand.

It also serves as the pods' sandbox (it sleeps) and as the helper that makes volume folders (it has a shell).
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

from devcluster import buildah, files, images, mounts, packages, progress, settings
from devcluster.errors import DevclusterError
from devcluster.images import Image

NAME = "devcluster/base"
SUITE = "bookworm"
PACKAGES = (
    "bash",
    "ca-certificates",
    "curl",
    "git",
    "iproute2",
    "procps",
    "python3",
    "python3-venv",
    "tini",
)
DISPENSABLE = (
    "dev/*",
    "usr/share/doc/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)
SLEEP = '["/usr/bin/tini", "-s", "--", "/usr/bin/sleep", "infinity"]'


def build() -> Image:
    """Builds the base image, unless it exists. Takes one to two minutes, most of it download.

    Raises:
        DevclusterError: debootstrap or buildah failed.
    """
    packages.ensure(packages.IMAGES)
    recipe = repr((SUITE, PACKAGES, DISPENSABLE, SLEEP))
    image = images.named(NAME, hashlib.sha256(recipe.encode()).hexdigest()[: images.KEY_LENGTH])
    with files.locked(settings.cache_dir() / "images" / ".lock"):
        if not image.archive.exists():
            with progress.step(f"image {image.reference}: debootstrap {SUITE} (about 100 s)"):
                buildah.clean()
                _commit(image, _debootstrap())
                images.save(image, NAME)
    return image


def _debootstrap() -> Path:
    root = settings.cache_dir() / "images" / "rootfs"
    if root.exists():  # an earlier run was killed
        mounts.release(root)
        shutil.rmtree(root)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"debootstrap failed:\n{result.stdout[-2000:]}{result.stderr[-1000:]}")
    mounts.release(root)
    for pattern in DISPENSABLE:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return root


def _commit(image: Image, root: Path) -> None:
    container = buildah.run("from", "--name", "devcluster-base", "scratch")
    mounted = buildah.run("mount", container)
    subprocess.run(["cp", "--archive", f"{root}/.", mounted], check=True)
    buildah.run("umount", container)
    buildah.run("config", "--cmd", SLEEP, container)
    buildah.run("commit", container, image.reference)
    buildah.run("rm", container)
    shutil.rmtree(root)
