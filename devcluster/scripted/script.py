"""The language of scripts: markers in a text say what the model does, request by request.

    [[say: TEXT]]                    a text block
    [[stream: events=N interval=S]]  a text block of N deltas (one token each), S seconds apart
    [[tool: NAME {JSON}]]            a tool call; ends the step
    [[also: NAME {JSON}]]            directly after [[tool]]: one more call in the same answer
    [[repeat: N MARKERS]]            the markers N times; {n} in them is the round, from 1
  about the whole step:
    [[usage: in= out= cache_read= cache_write= cache_write_1h=]]   tokens to report instead of length/4
    [[slow: S]]                      seconds before each event
    [[stop: REASON]]                 another stop_reason
    [[headers: NAME=VALUE ...]]      response headers, also of errors
  faults, which strike each attempt of the step, or only its first N with times=N:
    [[error: STATUS TYPE message="..."]]   an HTTP error
    [[empty]]                        200 without a body
    [[cut]] [[hang]] [[garbage]]     connection dropped; silence until the client goes; nonsense, then the end
    With after=N a fault lets N events of a stream out first: 4 for these three unless told, 0 for the others,
    an error then being an event. What is not streamed fails at once.

A step is what one model request gets. Only a tool call ends a step: the next one answers the tool's result.
Where a script has run out, and where a step says nothing, the answer is a short default sentence.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from devcluster.scripted.markers import Marker, ScriptError, ToolCall, markers
from devcluster.scripted.wire import ERROR_TYPES, StopReason


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tokens(Options):
    """Tokens to report; what is None is counted from the text."""

    input: int | None = Field(None, alias="in", ge=0)
    output: int | None = Field(None, alias="out", ge=0)
    cache_read: int = Field(0, ge=0)
    cache_write: int = Field(0, ge=0)
    cache_write_1h: int = Field(0, ge=0)


class Fault(Options):
    """What goes wrong: ``after`` that many events, in the first ``times`` attempts (None: in each)."""

    kind: Literal["error", "cut", "hang", "garbage", "empty"]
    after: int = Field(0, ge=0)
    times: int | None = Field(None, ge=1)
    status: int = Field(500, ge=400, le=599)
    type: str = "api_error"
    message: str = "This failure was scripted."


class Stream(Options):
    events: int = Field(ge=1, le=1_000_000)
    interval: float = Field(0.0, ge=0, le=60)


COUNTED = Tokens()


@dataclass(frozen=True)
class Step:
    """What one model request gets. ``delay`` is in seconds per event."""

    texts: tuple[str, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    faults: tuple[Fault, ...] = ()
    tokens: Tokens = COUNTED
    delay: float = 0.0
    stop: StopReason | None = None
    headers: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=8)
def parse(text: str) -> tuple[Step, ...]:
    """Return the steps that ``text`` scripts; none if it has no marker. Raises ScriptError."""
    steps: list[Step] = []
    step = Step()
    for marker in markers(text):
        if marker.call is None:
            step = _extended(step, marker)
        elif marker.verb == "tool":
            steps.append(replace(step, tools=(marker.call,)))
            step = Step()
        elif steps and step == Step():
            steps[-1] = replace(steps[-1], tools=(*steps[-1].tools, marker.call))
        else:
            raise ScriptError("[[also: ...]] must stand directly after [[tool: ...]] or another [[also: ...]]")
    return tuple(steps) if step == Step() else (*steps, step)


def current(steps: tuple[Step, ...], results: int) -> Step:
    """Return the step that is due when ``results`` tool results have come since the prompt."""
    for step in steps:
        if not step.tools or results < len(step.tools):
            return step
        results -= len(step.tools)
    return Step()


def fault_at(step: Step, attempt: int) -> Fault | None:
    """Return the fault that strikes the ``attempt``-th request (from 1) for this step, if one does."""
    for fault in step.faults:
        if fault.times is None or attempt <= fault.times:
            return fault
        attempt -= fault.times
    return None


def _extended(step: Step, marker: Marker) -> Step:
    """Return the step with one more marker that is not a tool call."""
    if marker.verb == "say":
        if not marker.argument:
            raise ScriptError("[[say: ...]] needs text; clients cannot send an empty text back")
        return replace(step, texts=(*step.texts, marker.argument))
    try:
        return _with_options(step, marker, *marker.words())
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in problem["loc"])
        raise ScriptError(f"{marker}: {where}{problem['msg']}") from None
    except ValueError as error:
        raise ScriptError(f"{marker}: {error}") from None


def _with_options(step: Step, marker: Marker, words: list[str], options: dict[str, str]) -> Step:
    match marker.verb:
        case "stream":
            stream = Stream.model_validate(options)
            return replace(step, texts=(*step.texts, "tok " * stream.events), delay=stream.interval)
        case "usage":
            return replace(step, tokens=Tokens.model_validate(options))
        case "slow":
            return replace(step, delay=Stream(events=1, interval=float(_only(words))).interval)
        case "stop":
            reason: StopReason = TypeAdapter(StopReason).validate_python(_only(words))
            return replace(step, stop=reason)
        case "headers":
            return replace(step, headers=(*step.headers, *options.items()))
    return replace(step, faults=(*step.faults, _fault(marker.verb, words, options)))


def _fault(kind: str, words: list[str], options: dict[str, str]) -> Fault:
    if kind != "error":
        return Fault.model_validate({"kind": kind, "after": 0 if kind == "empty" else 4} | options)
    if not words or not words[0].isdecimal():
        raise ValueError("needs an HTTP status, such as 529 overloaded_error")
    error_type = words[1] if words[1:] else ERROR_TYPES.get(int(words[0]), "api_error")
    return Fault.model_validate({"kind": kind, "status": words[0], "type": error_type} | options)


def _only(words: list[str]) -> str:
    if len(words) != 1:
        raise ValueError("needs exactly one value")
    return words[0]
