from pathlib import Path

import pytest

from devcluster.scripted.markers import ScriptError
from devcluster.scripted.rules import Rules, load

pytestmark = pytest.mark.unit

FILE = """
rules:
  - match: (?i)list the files
    steps:
      - '[[tool: Bash {"command": "ls"}]]'
      - "[[say: That is all.]]"
  - match: files
    steps: ["[[say: Which?]]"]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    path = tmp_path / "script.yaml"
    path.write_text(FILE)
    return load(path)


def test_the_first_rule_that_matches_answers(rules: Rules) -> None:
    assert [step.texts for step in rules.steps("please List the files")] == [(), ("That is all.",)]
    assert [step.texts for step in rules.steps("the files")] == [("Which?",)]


def test_markers_in_the_prompt_win(rules: Rules) -> None:
    assert [step.texts for step in rules.steps("files [[say: mine]]")] == [("mine",)]


def test_no_rule_no_steps(rules: Rules) -> None:
    assert rules.steps("hello") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules: [", "script.yaml: not YAML"),
        ("rules: [{match: '(', steps: ['[[cut]]']}]", "rules.0.match"),
        ("rules: [{match: x, steps: [just text]}]", "rules.0.steps: .*has no marker"),
        ("rules: [{match: x, steps: ['[[usage: in=x]]']}]", "rules.0.steps: .*in: Input should be"),
        ("rule: []", "rule: Extra inputs"),
    ],
)
def test_a_wrong_file_is_said_with_the_field(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(text)
    with pytest.raises(ScriptError, match=problem):
        load(path)
