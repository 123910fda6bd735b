"""From a step to the answer that goes out: default words, default usage, ids that a repetition finds again."""

from secrets import token_hex

from devcluster.scripted.conversation import Position
from devcluster.scripted.script import Step, Tokens
from devcluster.scripted.wire import Answer, Text, ToolUse, Usage

CHARACTERS_PER_TOKEN = 4
ECHOED_WORDS = 12
ECHOED_CHARACTERS = 120


def compose(step: Step, position: Position, *, model: str, session: str, size: int) -> Answer:
    """Return the answer for a step; ``size`` is the length of the request in characters."""
    texts = step.texts or (() if step.tools else (_default_text(position),))
    content: list[Text | ToolUse] = [Text(text) for text in texts]
    for index, call in enumerate(step.tools):
        content.append(ToolUse(f"toolu_{position.digest(session)[:20]}{index:04}", call.name, call.input))
    spoken = sum(len(text) for text in texts) + sum(len(str(call.input)) for call in step.tools)
    usage = _usage(step.tokens, tokens_in(size), tokens_in(spoken))
    return Answer(
        f"msg_{token_hex(12)}", model, tuple(content), step.stop or ("tool_use" if step.tools else "end_turn"), usage
    )


def tokens_in(characters: int) -> int:
    """Return the tokens that so many characters count for: deterministic, never zero."""
    return max(1, characters // CHARACTERS_PER_TOKEN)


def _usage(said: Tokens, default_input: int, default_output: int) -> Usage:
    return Usage(
        input=default_input if said.input is None else said.input,
        output=default_output if said.output is None else said.output,
        cache_read=said.cache_read,
        cache_write_5m=said.cache_write,
        cache_write_1h=said.cache_write_1h,
    )


def _default_text(position: Position) -> str:
    if position.results:
        return f"The tool answered “{_excerpt(position.results[-1])}”. That is the end of the script."
    return f"You wrote “{_excerpt(position.prompt)}”. I am a scripted model, so this is all I have to say."


def _excerpt(text: str) -> str:
    words = text.split()
    short = " ".join(words[:ECHOED_WORDS])[:ECHOED_CHARACTERS]
    return short if short == " ".join(words) else f"{short}…"
