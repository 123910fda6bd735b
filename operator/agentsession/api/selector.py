"""metav1.LabelSelector, as far as the API server's own checks of it go: a label that cannot be never matches."""

from typing import Annotated, Literal

from pydantic import Field

from .base import SpecModel
from .rules import holds

LabelValue = Annotated[str, Field(max_length=63)]


class LabelRequirement(SpecModel):
    """What a label must be, or must not."""

    key: str = Field(min_length=1, max_length=317, description="The label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How it is compared with values.")
    values: list[LabelValue] = Field(default=[], max_length=256, description="For In and NotIn.")

    @holds(
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
        "In and NotIn need values, Exists and DoesNotExist have none",
        field="values",
    )
    def _has_values(self) -> bool:
        return (self.operator in ("In", "NotIn")) == bool(self.values)


class LabelSelector(SpecModel):
    """All of it has to hold; an empty one holds of everything."""

    match_labels: dict[str, LabelValue] = Field(
        default={}, max_length=16, description="Labels and the values that they have."
    )
    match_expressions: list[LabelRequirement] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        description="What further has to hold of labels.",
    )
