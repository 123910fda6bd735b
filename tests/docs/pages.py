"""Reads the pages for people: fenced blocks, tables, and the words that are set as code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SESSIONS, OPERATIONS = ROOT / "docs" / "sessions.md", ROOT / "docs" / "operations.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Page:
    """One page. `name` is its path in the repository."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text()

    def blocks(self, *languages: str) -> list[str]:
        """The fenced blocks of these languages."""
        return [body for language, body in FENCE.findall(self.text) if language in languages]

    def code(self) -> Iterator[str]:
        """What is set as code within a line."""
        for found in CODE.findall(FENCE.sub("", self.text)):
            yield str(found)

    def links(self) -> list[str]:
        """Where links lead, but for those to other sites and within the page."""
        return [link for link in LINK.findall(FENCE.sub("", self.text)) if "://" not in link]

    def table(self, heading: str) -> list[list[str]]:
        """The cells of the first table below a heading, row by row, without its own head."""
        _, _, below = self.text.partition(f"\n{heading}\n")
        rows = re.search(r"(?:^\|.*\|\n)+", below, re.MULTILINE)
        assert rows is not None, f"{self.name} has no table below {heading!r}"
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[0].splitlines()[2:]]

    def documents(self) -> list[dict[str, Any]]:
        """Every YAML document that is shown."""
        return [document for block in self.blocks("yaml") for document in yaml.safe_load_all(block)]


GUIDES = [Page(README), Page(SESSIONS), Page(OPERATIONS)]
"""The pages for users and installers."""
