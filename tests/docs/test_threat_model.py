"""Every threat has a test, and every test that a page names by name is there."""

import re

import pytest

from tests.docs.pages import PAGES, ROOT, Page

pytestmark = pytest.mark.unit

TABLES = ("## The agent", "## A tenant's user", "## A stolen token of a component")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`")


@pytest.mark.parametrize("heading", TABLES)
def test_every_threat_names_what_shows_that_it_is_stopped(heading: str) -> None:
    rows = Page(ROOT / "docs" / "threat-model.md").table(heading)
    assert [row[0] for row in rows if not TEST.search(row[-1])] == []


def test_what_is_named_is_there() -> None:
    named = {(path, test) for page in PAGES for path, test in TEST.findall(page.read_text()) if test}
    assert named, "tests are not found any more"
    missing = [name for name in sorted(named) if f"def {name[1]}(" not in (ROOT / name[0]).read_text()]
    assert missing == []
