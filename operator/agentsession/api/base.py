"""What every kind shares: strict spec models, object metadata, conditions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

GROUP = "agentsession.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class SpecModel(BaseModel):
    """A part of a spec. Unknown fields are refused: a field that does nothing must not be accepted.

    Errors do not show the input: it may be session text, which has no place in logs.
    """

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, alias_generator=to_camel, populate_by_name=True
    )


class StatusModel(BaseModel):
    """A part of a status. Unknown fields are dropped, so that an older operator reads a newer status."""

    model_config = ConfigDict(
        extra="ignore", hide_input_in_errors=True, alias_generator=to_camel, populate_by_name=True
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
