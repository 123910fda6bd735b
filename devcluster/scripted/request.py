"""What a well-formed request is: the checks of the real service, so that a malformed one is found in a test."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from pydantic import Field, ValidationError

from devcluster.scripted import conversation
from devcluster.scripted.content import Blocks, Message, Strict

MAX_CACHE_BREAKPOINTS = 4


class InvalidRequest(ValueError):  # noqa: N818 -- named as the service names it
    """A request that the service refuses with 400 invalid_request_error; the message names the field."""


class Tool(Strict):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    cache_control: dict[str, object] | None = None


class MessagesRequest(Strict):
    """The body of ``/v1/messages``, and of ``count_tokens``, where only ``max_tokens`` is not asked for."""

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    stream: bool = False
    system: Blocks | None = None
    tools: list[Tool] = []
    temperature: float | None = Field(None, ge=0, le=1)


def read_request(raw: bytes, version: str, *, counting: bool) -> MessagesRequest:
    """Return the request in ``raw``, checked field by field and as a conversation. Raises InvalidRequest.

    ``version`` is the anthropic-version header; ``counting`` is for count_tokens, which needs no max_tokens.
    """
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
        raise InvalidRequest("anthropic-version: header is required, such as 2023-06-01")
    try:
        request = MessagesRequest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRequest(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from None
    if request.max_tokens is None and not counting:
        raise InvalidRequest("max_tokens: Field required")
    for problem in chain(_problems(request), conversation.problems(request.messages)):
        raise InvalidRequest(problem)
    return request


def _problems(request: MessagesRequest) -> Iterator[str]:
    for name, count in Counter(tool.name for tool in request.tools).items():
        if count > 1:
            yield f"tools: Tool names must be unique, {name} is there {count} times"
    blocks = [*(request.system or []), *(block for message in request.messages for block in message.content)]
    breakpoints = sum(tool.cache_control is not None for tool in request.tools)
    breakpoints += sum(block.cache_control is not None for block in blocks)
    if breakpoints > MAX_CACHE_BREAKPOINTS:
        yield f"A maximum of {MAX_CACHE_BREAKPOINTS} blocks with cache_control may be provided. Found {breakpoints}."
