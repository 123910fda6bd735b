"""Where texts stand in this pod: in names and contents of files, in links, in processes. Prints {text: [places]}.

Argument: a JSON list of the texts, each written backwards, so that the search does not find itself.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK = 1 << 20
OVERLAP = 256
"""Bytes; no text is longer."""


def contents(path: Path) -> Iterator[bytes]:
    """What can be read of a file, in parts that overlap."""
    tail = b""
    try:
        if not path.is_file():
            return
        with path.open("rb") as file:
            while part := file.read(CHUNK):
                yield tail + part
                tail = part[-OVERLAP:]
    except OSError:
        return


def places() -> Iterator[tuple[Path, Iterable[bytes]]]:
    """Everything that the pod shows to its own user."""
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("environ", "cmdline"):
            yield process / name, contents(process / name)
    for folder, below, files in os.walk("/"):
        if folder == "/":
            below[:] = [name for name in below if name not in ("proc", "sys")]
        for name in files + below:
            path = Path(folder, name)
            yield path, [os.fsencode(name)]
            yield path, [os.fsencode(path.readlink())] if path.is_symlink() else contents(path)


def main() -> None:
    """Look for all texts in one pass."""
    sought = [text[::-1] for text in json.loads(sys.argv[1])]
    found: dict[str, set[str]] = {text: set() for text in sought}
    for place, parts in places():
        for part in parts:
            for text in sought:
                if text.encode() in part:
                    found[text].add(str(place))
    json.dump({text: sorted(places_) for text, places_ in found.items()}, sys.stdout)


main()
