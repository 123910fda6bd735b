"""What one answer used, read from the answer itself.

The provider's counts in a stream are cumulative: each overwrites the one before, none is added. The exception is
`iterations[]`: what a compaction used is not in the top-level counts. https://docs.anthropic.com/en/api/messages-streaming
"""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Field(default=None, ge=0)


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _CacheCreation(_Wire):
    ephemeral_1h_input_tokens: int | None = Count


class _Counts(_Wire):
    input_tokens: int | None = Count
    cache_creation_input_tokens: int | None = Count
    cache_read_input_tokens: int | None = Count
    output_tokens: int | None = Count
    cache_creation: _CacheCreation | None = None

    def tokens(self) -> "Tokens":
        written_1h = self.cache_creation.ephemeral_1h_input_tokens if self.cache_creation else None
        return Tokens(
            input=self.input_tokens or 0,
            cache_creation=self.cache_creation_input_tokens or 0,
            cache_creation_1h=written_1h or 0,
            cache_read=self.cache_read_input_tokens or 0,
            output=self.output_tokens or 0,
        )


class _Iteration(_Counts):
    type: str = ""


class _Usage(_Counts):
    iterations: list[_Iteration] | None = None


@dataclass(frozen=True)
class Tokens:
    """Counts of one answer. `input` excludes the cache; `cache_creation_1h` is a part of `cache_creation`."""

    input: int = 0
    cache_creation: int = 0
    cache_creation_1h: int = 0
    cache_read: int = 0
    output: int = 0
    estimated: bool = False
    """Whether the final count never came, so that this is an upper bound."""

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            self.input + other.input,
            self.cache_creation + other.cache_creation,
            self.cache_creation_1h + other.cache_creation_1h,
            self.cache_read + other.cache_read,
            self.output + other.output,
            self.estimated or other.estimated,
        )


class UsageReader:
    """Reads the usage of one successful answer.

    An answer that breaks off is billed at an upper bound, so that aborting is never cheaper than finishing. A token is
    at least one byte of UTF-8: the input is the provider's count, or the request's bytes if it never came; the output
    is the bytes that were streamed, or `max_tokens` if the answer was not a stream and never came.
    """

    def __init__(self, *, request_bytes: int, max_tokens: int, streamed: bool) -> None:
        self._request_bytes = request_bytes
        self._max_tokens = max_tokens
        self._streamed = streamed
        self._usage = _Usage()
        self._output_bytes = 0
        self._final = False

    def event(self, data: str) -> None:
        """Take in the data of one event of a stream."""
        event = _object(data)
        match event.get("type"):
            case "message_start":
                message = event.get("message")
                self._overwrite(message.get("usage") if isinstance(message, dict) else None)
            case "message_delta":
                counted = self._overwrite(event.get("usage"))
                delta = event.get("delta")
                if counted and isinstance(delta, dict) and delta.get("stop_reason") is not None:
                    self._final = True
            case "content_block_start" | "content_block_delta":
                self._output_bytes += _text_bytes(event.get("content_block") or event.get("delta"))

    def body(self, raw: bytes) -> None:
        """Take in a whole answer that was not streamed."""
        self._final = self._overwrite(_object(raw).get("usage"))

    @property
    def began(self) -> bool:
        """Whether the provider has counted anything: an answer that never began is not billed."""
        return bool(self._usage.model_fields_set)

    def tokens(self) -> Tokens:
        """The count, or the bound if the answer broke off."""
        usage = self._usage
        counted = usage.tokens()
        for iteration in usage.iterations or []:
            if iteration.type == "compaction":
                counted += iteration.tokens()
        if self._final:
            return counted
        unseen_input = self._request_bytes if usage.input_tokens is None else 0
        produced = self._output_bytes if self._streamed else self._max_tokens
        unseen_output = max(0, min(produced, self._max_tokens) - counted.output)
        return counted + Tokens(input=unseen_input, output=unseen_output, estimated=True)

    def _overwrite(self, usage: object) -> bool:
        try:
            seen = _Usage.model_validate(usage)
        except ValidationError:
            return False
        fields = {name: value for name in seen.model_fields_set if (value := getattr(seen, name)) is not None}
        self._usage = self._usage.model_copy(update=fields)
        return seen.output_tokens is not None


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text_bytes(part: object) -> int:
    """Bytes of all text in a content block or delta, its type aside."""
    if isinstance(part, str):
        return len(part.encode(errors="replace"))
    if isinstance(part, dict):
        return sum(_text_bytes(value) for key, value in part.items() if key not in ("type", "id"))
    if isinstance(part, list):
        return sum(map(_text_bytes, part))
    return 0
