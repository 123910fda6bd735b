"""The project's own images and what each is built on."""

from collections.abc import Iterable
from pathlib import Path

from devcluster import baseimage, images
from devcluster.images import REPOSITORY, Image

DOCKERFILES = {
    "operator": Path("Dockerfile.operator"),
    "runner": Path("Dockerfile.runner"),
    "scripted": Path("devcluster/scripted/Dockerfile"),
}


def build(names: Iterable[str]) -> dict[str, Image]:
    """Builds the named images, and what they need, unless they exist."""
    base = baseimage.build()
    return {name: _build(name, base) for name in names}


def _build(name: str, base: Image) -> Image:
    below = _build("operator", base) if name == "scripted" else base
    return images.build(f"agentsession/{name}", REPOSITORY / DOCKERFILES[name], REPOSITORY, below)
