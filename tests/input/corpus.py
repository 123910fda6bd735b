"""The corpus: wrong manifests as people write them, one mistake in each file.

A file begins with a comment: the mistake in a sentence, then `# at:`, the field that the answer must name, and
`# says:`, words of it that tell what would be right. `# reason:` is that of the condition, where one answers. What
follows `# put right` heals it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS, Resource

FOLDER = Path(__file__).with_name("corpus")


@dataclass(frozen=True)
class Case:
    """One file. `documents` are its YAML documents as written; `remedy` those that put it right."""

    path: Path
    at: str
    says: str
    reason: str
    documents: list[str]
    remedy: list[str]

    @property
    def name(self) -> str:
        """The mistake in a few words."""
        return self.path.stem

    def __str__(self) -> str:
        return self.name

    def expects(self, message: str) -> bool:
        """Whether a message names the field and the remedy."""
        return self.at in message and self.says in message


def cases(group: str) -> list[Case]:
    """The files of one group, by name."""
    return [_read(path) for path in sorted((FOLDER / group).glob("*.yaml"))]


def resource_of(text: str) -> Resource:
    """Of which of our kinds a document is; it need not be YAML."""
    named = (resource for resource in (AGENTPOOLS, AGENTTENANTS) if f"kind: {resource.kind}\n" in text)
    return next(named, AGENTSESSIONS)


def _read(path: Path) -> Case:
    text = path.read_text()
    known = dict(_header(text))
    wrong, *right = re.split(r"^---\n# put right$", text, flags=re.MULTILINE)
    return Case(
        path, known.get("at", ""), known["says"], known.get("reason", ""), _split(wrong), _split("".join(right))
    )


def _split(text: str) -> list[str]:
    return [document for document in re.split(r"^---$", text, flags=re.MULTILINE) if document]


def _header(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        name, colon, value = line.removeprefix("# ").partition(": ")
        if colon and name in ("at", "says", "reason"):
            yield name, value
