"""Makes the runner's folders, and checks that they can be written.

A sub-path of a persistent volume may have served a session before, whose agent may have left a symbolic link where a
folder should be: every folder is opened without following links, and what is not a folder of ours is refused. A volume
that cannot be written is found here, because the CLI would run on it without a word and lose the transcript.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .errors import UnfitError
from .protocol import EXIT_BAD_ENVIRONMENT, EXIT_BAD_VOLUME

TRANSCRIPTS = "projects"
PROBE = ".agentsession-probe"
PROBE_BYTES = 64 * 1024


def make_folders(folders: Iterable[Path]) -> None:
    """Make each folder with mode 0700, or take it over if it is already ours. Raises UnfitError."""
    for folder in folders:
        try:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            _take_over(folder)
            probe(folder)
        except OSError as error:
            raise UnfitError(EXIT_BAD_VOLUME, f"{folder}: {error.strerror}; {_remedy(folder)}") from error


def _take_over(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _remedy(folder: Path) -> str:
    if folder.is_symlink():
        return "an earlier session left a symbolic link here; remove it from the volume"
    return "the runner's uid must be able to write here; check the volume's free space, fsGroup and owner"


def check_sealed(folder: Path) -> None:
    """See that nobody but its owner may enter a folder of the image. Raises UnfitError."""
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise UnfitError(EXIT_BAD_ENVIRONMENT, f"the image has no folder {folder}: {error.strerror}") from error
    if mode & 0o077:
        raise UnfitError(EXIT_BAD_ENVIRONMENT, f"in the image {folder} has mode {mode & 0o777:04o}: it must be 0700")


def forget_earlier_agents(config: Path, home: Path) -> None:
    """Leave nothing in HOME, and nothing in CLAUDE_CONFIG_DIR but the transcripts. Raises OSError.

    An earlier agent may have written there, and where no setting source is allowed the CLI still takes the `env` of its
    .claude.json over its environment, and runs .bashrc. What it keeps there for itself it makes anew.
    """
    for entry in (*config.iterdir(), *home.iterdir()):
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink()
        elif entry != config / TRANSCRIPTS:
            shutil.rmtree(entry)


def check_transcript(config: Path, session_id: str) -> None:
    """See that a conversation that is taken up is in a file of ours that can be read. Raises OSError.

    What an earlier agent may have left in its place could hold the CLI up for ever (a pipe) or lead it elsewhere (a
    symbolic link). A file that has no such conversation in it the CLI refuses by itself.
    """
    for path in (config / TRANSCRIPTS).glob(f"*/{session_id}.jsonl"):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a file", str(path))
        finally:
            os.close(descriptor)


def probe(folder: Path) -> None:
    """Write and remove a small file in `folder`. Raises OSError, as for a full or read-only volume."""
    path = folder / PROBE
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, bytes(PROBE_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        path.unlink()
