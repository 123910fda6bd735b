"""Unmounts what killed programs left mounted."""

import subprocess
from pathlib import Path

from devcluster.errors import DevclusterError


def release(folder: Path) -> None:
    """Lazily unmounts everything below ``folder``, the latest mount first.

    Raises:
        DevclusterError: something stays mounted, so that the folder must not be deleted.
    """
    for target in reversed(below(folder)):
        subprocess.run(["umount", "--lazy", str(target)], capture_output=True, check=False)
    if left := below(folder):
        raise DevclusterError(f"These mounts could not be released: {', '.join(map(str, left))}")


def below(folder: Path) -> list[Path]:
    """Mount points at or below ``folder``, in the order in which they were mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(unescape(line.split(" ")[4])) for line in lines]
    return [point for point in points if point.is_relative_to(folder)]


def unescape(field: str) -> str:
    r"""Undoes the kernel's octal escapes in /proc files, such as ``\040`` for a blank."""
    return field.encode().decode("unicode_escape").encode("latin-1").decode() if "\\" in field else field
