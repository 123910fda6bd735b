"""Every field of both kinds, wrong in every way that its schema knows, and at random: API server and models agree.

What one admits the other admits too. What is refused is refused by its path.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .asking import Answer, Asker
from .mistakes import mistakes
from .specs import SCHEMAS, Field, Schema, admitted, fields, full

pytestmark = pytest.mark.apiserver

SLIPS = [
    "", " ", "\n", "a\n", "\ta", "Team-A", "a_b", "-a", "a-", "a.b", "a..b", ".",
    "ä", "\u0430", "a\u202eb", "a\u0000b", "\u0007", "a\u00a0b", "🙂", "x" * 64, "x" * 254, "$(whoami)",
    "a; rm -rf /", "../../etc/passwd", "{{ .Values.name }}",
    "~", "null", "yes", "1.5h", "-1s", "0s", "5", "1h 30m", "30m1h", "1H", "1d", "9999999999h", "00010s", "999999h",
    "1e9", "-1Gi", "+1", "1.", ".5", "0", "0.0", "0Gi", "00", "512m", "1gb", "1Gi ", "1,5", "0x10", "1Ei", "1.5Gi",
    "9" * 40, "https://api.anthropic.com/", "https://a:99999", "https://a:999999", "http://user@host", "ftp://a",
    "HTTPS://a", "Bash()", "Bash(ls", "bash", "Bash Read", "Bash,Read", "mcp__", "mcp__other", "mcp__notes__get",
    "mcp__notes__*", "Bash(a\nb)", "./server", "bin/server", "/opt/server -v", "/opt/server\n", "python -m x", "prompt",
]  # fmt: skip
"""What people type, paste or generate; some of it is right for some fields."""
NAMES_IT = "spec.agent.allowedTools: Invalid value: allowedTools names an MCP server"
"""Where a server's new name may be right, but is not the one that is allowed."""


def agree(kind: str, spec: object, answer: Answer) -> None:
    """Both ways: what the server stores the operator reads, and what the models take the server takes."""
    if answer.admitted:
        assert admitted(kind, answer.made["spec"]), (kind, spec)
    else:
        assert not admitted(kind, spec), (kind, spec, answer.message)


@pytest.mark.parametrize("kind", SCHEMAS)
async def test_a_spec_with_every_field_is_admitted(asker: Asker, kind: str) -> None:
    answer = await asker.spec(kind, full(kind))
    assert answer.admitted, answer.message
    assert admitted(kind, full(kind))
    known = {"".join(str(step) for step in field.where) for field in fields(kind)}
    assert {name for name in SCHEMAS[kind]["properties"] if name not in known} == set()


@pytest.mark.parametrize("kind", SCHEMAS)
async def test_every_mistake_that_the_schema_knows_is_refused_by_its_path(asker: Asker, kind: str) -> None:
    wrong = [mistake for field in fields(kind) for mistake in mistakes(field)]
    answers = await _ask(asker, kind, [spec for _, _, spec in wrong])
    taken = [(what, path) for (what, path, _), answer in zip(wrong, answers, strict=True) if answer.admitted]
    assert taken == []
    unnamed = [
        (what, path, answer.message)
        for (what, path, _), answer in zip(wrong, answers, strict=True)
        if path not in answer.message
    ]
    assert unnamed == []
    assert [(what, path) for what, path, spec in wrong if admitted(kind, spec)] == []


@pytest.mark.parametrize("kind", SCHEMAS)
async def test_what_people_type_is_taken_by_both_or_by_neither(asker: Asker, kind: str) -> None:
    texts = {_said(field.schema): field for field in fields(kind) if isinstance(field.value, str)}
    asked = [(field, slip, field.with_value(slip)) for field in texts.values() for slip in SLIPS]
    answers = await _ask(asker, kind, [spec for _, _, spec in asked])
    for (field, slip, spec), answer in zip(asked, answers, strict=True):
        agree(kind, spec, answer)
        named = field.path.removesuffix("[0]") in answer.message or NAMES_IT in answer.message
        assert answer.admitted or named, (field.path, slip, answer.message)
        assert "should match" not in answer.message


def _said(schema: Schema) -> str:
    """What a schema says of a value: fields of one kind need not all be asked."""
    return repr({key: value for key, value in schema.items() if key not in ("description", "default")})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, kind: str) -> Any:
    """The full spec with one to three of its values changed: to what people type, to near misses, to anything."""
    spec = full(kind)
    for _ in range(draw(st.integers(1, 3))):
        field = draw(st.sampled_from(fields(kind)[1:]))
        try:
            spec = Field(kind, field.where, field.schema, spec).with_value(draw(_value(field)))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has taken the place away
    return spec


def _value(field: Field) -> st.SearchStrategy[Any]:
    schema = field.schema
    kinds: list[st.SearchStrategy[Any]] = [ANYTHING, st.none(), st.just(field.value)]
    if isinstance(field.value, str):
        kinds += [st.sampled_from(SLIPS), st.text(max_size=80)]
    if "enum" in schema:
        kinds.append(st.sampled_from(schema["enum"]))
    if schema.get("type") == "integer":
        kinds.append(st.integers(schema.get("minimum", 0) - 2, schema.get("minimum", 0) + 2))
        kinds.append(st.integers(schema.get("maximum", 9) - 2, schema.get("maximum", 9) + 2))
    if schema.get("type") == "array":
        kinds.append(st.lists(st.just(field.value[0]) | ANYTHING, max_size=4))
    return st.one_of(kinds)


@pytest.mark.parametrize("kind", SCHEMAS)
async def test_whatever_is_made_of_it_is_taken_by_both_or_by_neither(asker: Asker, kind: str) -> None:
    specs: list[Any] = []

    @settings(
        max_examples=400,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(changed(kind))
    def draw(spec: Any) -> None:
        specs.append(spec)

    draw()
    for spec, answer in zip(specs, await _ask(asker, kind, specs), strict=True):
        agree(kind, spec, answer)
    assert len(specs) >= 400


async def _ask(asker: Asker, kind: str, specs: list[Any]) -> list[Answer]:
    slots = asyncio.Semaphore(8)

    async def one(spec: Any) -> Answer:
        async with slots:
            return await asker.spec(kind, spec)

    return await asyncio.gather(*(one(spec) for spec in specs))
