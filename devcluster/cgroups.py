"""Removes the cgroups that a killed kubelet leaves behind."""

from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def remove_empty(name: str, root: Path = ROOT) -> None:
    """Removes the tree ``name`` from each hierarchy (or from the only one), deepest first.

    The kernel refuses to remove a cgroup that has processes, so nothing that runs is touched.
    """
    for tree in (root / name, *root.glob(f"*/{name}")):
        folders = [path for path in tree.rglob("*") if path.is_dir()]
        for folder in [*sorted(folders, reverse=True), tree]:
            with suppress(OSError):
                folder.rmdir()
