"""What every kind shares: strict spec models, object metadata, conditions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from .rules import VALIDATIONS, broken, rules_of

GROUP = "agentsession.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
NOT_OBSERVED = -1
"""status.observedGeneration of an object that no operator has seen. Generations begin with 1."""


class SpecModel(BaseModel):
    """A part of a spec. Unknown fields are refused: a field that does nothing must not be accepted.

    Nor is "5" taken for 5: the API server would not. Errors do not show the input: it may be session text, which has
    no place in logs.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, hide_input_in_errors=True, alias_generator=to_camel, populate_by_name=True
    )

    @model_validator(mode="after")
    def _keeps_its_rules(self) -> Self:
        for check, stated in rules_of(type(self)):
            if not check(self):
                raise broken(str(stated["message"]))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler.resolve_ref_schema(handler(schema))
        if stated := [stated for _, stated in rules_of(cls)]:
            made[VALIDATIONS] = [*stated, *made.get(VALIDATIONS, [])]
        return made


class StatusModel(BaseModel):
    """A part of a status. Unknown fields are dropped, so that an older operator reads a newer status."""

    model_config = ConfigDict(
        extra="ignore",
        hide_input_in_errors=True,
        alias_generator=to_camel,
        populate_by_name=True,
        cache_strings="keys",
    )


def _to_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Timestamp = Annotated[datetime, AfterValidator(_to_utc)]
"""RFC 3339 in the API, aware UTC in Python."""


class ObjectMeta(StatusModel):
    """The part of metav1.ObjectMeta that the control side reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    deletion_grace_period_seconds: int | None = None
    annotations: dict[str, str] = {}


class Condition(StatusModel):
    """metav1.Condition: one type, one meaning per reason, one line of message."""

    type: str = Field(max_length=63)
    status: Literal["True", "False", "Unknown"]
    reason: str = Field(max_length=63)
    message: str = Field(default="", max_length=1024)
    observed_generation: int = 0
    last_transition_time: Timestamp


def condition(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of that type, if set."""
    return next((c for c in conditions if c.type == type_), None)


def is_true(conditions: Sequence[Condition], type_: str) -> bool:
    """Whether the condition of that type is set and True."""
    found = condition(conditions, type_)
    return found is not None and found.status == "True"


class KubeModel(StatusModel):
    """A whole object as read from the API server."""

    metadata: ObjectMeta

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name), as the cache and the work queue key objects."""
        return self.metadata.namespace, self.metadata.name


def to_json(model: BaseModel) -> dict[str, Any]:
    """The wire form: camelCase, absent optionals left out, times as RFC 3339."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def spec_errors(error: ValidationError) -> str:
    """One line from a validation error: the first fields that are wrong, as paths of the API, and why."""
    return "; ".join(f"{_path(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)[:5])


def _path(steps: Sequence[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
