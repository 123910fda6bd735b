"""What the chart renders, whole, so that a review sees every change.

`UPDATE_GOLDEN=1 pytest tests/chart` writes the files anew.
"""

import os
from pathlib import Path

import pytest

from tests.chart.helm import CHART, helm, template, values_of

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent / "golden"
CASES = ["default", "minimal", "everything"]


@pytest.mark.parametrize("name", CASES)
def test_render_is_as_reviewed(name: str) -> None:
    done = template(values_of(name))
    assert done.returncode == 0, done.stderr
    # CRDs are compared with the models they come from, in test_generated.
    documents = done.stdout.removeprefix("---\n").split("\n---\n")
    text = "\n---\n".join(document for document in documents if "\nkind: CustomResourceDefinition\n" not in document)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("name", CASES)
def test_lint(name: str) -> None:
    done = helm("lint", "--strict", CHART, values=values_of(name))
    assert done.returncode == 0, done.stdout + done.stderr
