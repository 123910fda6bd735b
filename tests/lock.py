"""Writes requirements/*.txt from pyproject.toml: every dependency pinned, with hashes and without any index's name."""

import subprocess
import sys

LOCKS = {
    "operator": ["operator", "egress", "gateway"],
    "runner": ["runner"],
    "dev": ["operator", "egress", "gateway", "runner", "dev"],
}
"""File by file: the extras that it holds. Operator and egress plane share one image."""


def main() -> None:
    """Resolve each lock file."""
    for name, extras in LOCKS.items():
        print(f"requirements/{name}.txt: {', '.join(extras)}")
        chosen = [argument for extra in extras for argument in ("--extra", extra)]
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *chosen),
                *("--quiet", "--generate-hashes", "--universal", "--python-version", "3.11"),
                *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
                *("--output-file", f"requirements/{name}.txt"),
            ],
            check=True,
        )


if __name__ == "__main__":
    main()
