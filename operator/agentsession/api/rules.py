"""Rules on values, each said once for both sides: CEL and a sentence for people in the CRD, a check in the models.

What the API server admits the operator can read, and what it refuses the models refuse too, with the same words. A
plain `pattern` is not used: the API server would answer with the bare expression.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS = "x-kubernetes-validations"
Check = TypeVar("Check", bound=Callable[[Any], bool])


def rule(expression: str, message: str, **extra: str) -> JsonDict:
    """One CEL rule. `message` says what is wrong and what would be right."""
    return {"rule": expression, "message": message, **extra}


def immutable(field: str, remedy: str) -> JsonDict:
    """A CEL rule that lets `field` be set at creation only."""
    return rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} cannot be changed: {remedy}",
        fieldPath=f".{field}",
    )


def holds(expression: str, message: str, *, field: str = "") -> Callable[[Check], Check]:
    """Decorates a method of a SpecModel that says in Python what `expression` says in CEL.

    field: below the object, in the wire form: where the API server's error points.
    """
    path = {"fieldPath": f".{field}"} if field else {}

    def decorate(check: Check) -> Check:
        check.rule = rule(expression, message, **path)  # type: ignore[attr-defined]
        return check

    return decorate


@cache
def rules_of(cls: type) -> tuple[tuple[Callable[[Any], bool], JsonDict], ...]:
    """The decorated methods of a class with their rules, in the order in which they are written."""
    attributes = (attribute for base in reversed(cls.__mro__) for attribute in vars(base).values())
    return tuple((each, each.rule) for each in attributes if callable(each) and hasattr(each, "rule"))


def broken(message: str) -> PydanticCustomError:
    """The error that a validator raises for a rule that does not hold."""
    return PydanticCustomError("rule", "{message}", {"message": message})


@dataclass(frozen=True)
class Form:
    """What a string must look like. Annotates a type.

    pattern: a regular expression that RE2 and `re` read alike; it is searched for, so anchor it. remedy: what would be
    right, with an example.
    """

    pattern: str
    remedy: str

    @property
    def cel(self) -> str:
        """The CEL expression for `self`."""
        return f"self.matches(r'{self.pattern}')"

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        """`$` is the very end: `re` would let a newline follow."""
        return re.compile(re.sub(r"\$$", r"\\Z", self.pattern))

    def matches(self, text: str) -> bool:
        """Whether a text has this form."""
        return self._compiled.search(text) is not None

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, text: str) -> str:
        if not self.matches(text):
            raise broken(self.remedy)
        return text

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), VALIDATIONS: [rule(self.cel, self.remedy)]}


@dataclass(frozen=True)
class IntOrString:
    """A string that may also be written as a whole number, as quantities may be in every manifest of Kubernetes."""

    form: Form

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = self.form.__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_before_validator_function(self._as_text, inner)

    @staticmethod
    def _as_text(value: object) -> object:
        return str(value) if type(value) is int else value

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        expression = self.form.cel.replace("self", "string(self)")
        return {"x-kubernetes-int-or-string": True, VALIDATIONS: [rule(expression, self.form.remedy)]}


@dataclass(frozen=True)
class Unique:
    """A list without duplicates: a set, or a map by the field `key` of its items. Annotates a list type."""

    key: str = ""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, items: Sequence[object]) -> Sequence[object]:
        keys = [getattr(item, self.key) if self.key else item for item in items]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise broken(f"Duplicate value: {key}")
        return items

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        list_type = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return {**handler(schema), **(list_type if self.key else {"x-kubernetes-list-type": "set"})}
