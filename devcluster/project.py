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
    built: dict[str, Image] = {}

    def made(name: str) -> Image:
        if name not in built:
            below = made("operator") if name == "scripted" else base
            built[name] = images.build(f"agentsession/{name}", REPOSITORY / DOCKERFILES[name], REPOSITORY, below)
        return built[name]

    return {name: made(name) for name in names}
