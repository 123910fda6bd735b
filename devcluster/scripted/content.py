"""Messages and their content blocks, as a client sends them.

Fields that the service may add are let through; the types of block are a closed list, as in the service.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

# What each type of block must carry. Server tools' blocks are missing: they return what the service sent, and
# this one never sends any.
REQUIRED: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "search_result": ("source", "title", "content"),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
    "tool_reference": ("tool_name",),
}


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


def _as_blocks(content: object) -> object:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


class Block(Strict):
    """A content block; where a list of them may stand, a string may too and is one text block."""

    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, object] | None = None
    tool_use_id: str | None = None
    content: "Blocks | None" = None
    cache_control: dict[str, object] | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Block":
        if self.type not in REQUIRED:
            raise PydanticCustomError("block", f"{self.type!r} is not a type of content block")
        if absent := [name for name in REQUIRED[self.type] if getattr(self, name, None) is None]:
            raise PydanticCustomError("block", f"{absent[0]}: Field required in a {self.type} block")
        if self.type == "text" and not self.text:
            raise PydanticCustomError("block", "text content blocks must be non-empty")
        return self

    def plain_text(self) -> str:
        """Return the text of a text block or of a tool result."""
        inner = (block.plain_text() for block in self.content or [])
        return self.text or " ".join(text for text in inner if text)


Blocks = Annotated[list[Block], BeforeValidator(_as_blocks)]


class Message(Strict):
    role: Literal["user", "assistant", "system"]
    content: Blocks = Field(min_length=1)
