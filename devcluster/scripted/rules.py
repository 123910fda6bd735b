"""A script file: which prompts, beyond those that carry markers, get which steps."""

import re
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from devcluster.scripted.markers import ScriptError
from devcluster.scripted.script import Step, parse


class Rule(BaseModel):
    """``match`` is a regular expression searched in the prompt; ``steps`` are joined and read as one script."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: re.Pattern[str]
    steps: list[str] = Field(min_length=1)

    @field_validator("steps")
    @classmethod
    def _readable(cls, steps: list[str]) -> list[str]:
        if not parse("".join(steps)):
            raise ValueError("has no marker; write an answer as [[say: ...]]")
        return steps


class Rules(BaseModel):
    """The script file: the first rule that matches answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rules: list[Rule] = []

    def steps(self, prompt: str) -> tuple[Step, ...]:
        """Return the steps for a prompt: its own markers, else the first rule's, else none. Raises ScriptError."""
        if own := parse(prompt):
            return own
        rule = next((rule for rule in self.rules if rule.match.search(prompt)), None)
        return parse("".join(rule.steps)) if rule else ()


def load(path: Path) -> Rules:
    """Read a script file. Raises OSError, or ScriptError that names the file and the field."""
    try:
        return Rules.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise ScriptError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ScriptError(f"{path}: " + "; ".join(problems)) from error
