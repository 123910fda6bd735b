"""Removes what a kubelet leaves in places that it cannot be told to keep away from."""

from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
LOG_LINKS = Path("/var/log/containers")


def remove_cgroups(name: str, root: Path = CGROUPS) -> None:
    """Removes the tree ``name`` from each hierarchy (or from the only one), deepest first.

    The kernel refuses to remove a cgroup that has processes, so nothing that runs is touched.
    """
    for tree in (root / name, *root.glob(f"*/{name}")):
        folders = [path for path in tree.rglob("*") if path.is_dir()]
        for folder in [*sorted(folders, reverse=True), tree]:
            with suppress(OSError):
                folder.rmdir()


def remove_log_links(state: Path, links: Path = LOG_LINKS) -> None:
    """Removes the links to container logs that lie in ``state``."""
    for link in links.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(state):
            link.unlink()
