"""The machine finds what it is there for: with one control taken out of the product, it fails, and says so."""

import logging

import pytest

from .explore import explore
from .mutations import MUTATIONS

pytestmark = pytest.mark.apiserver

STEPS = 300
FOUND = {
    "ask under a new uuid": (1, "was given a prompt that was given before"),
    "ask again after a loss": (2, "was given a prompt that was given before"),
    "write over what has changed": (2, "had ended, and changed"),
    "do not settle usage": (1, "answers and finishes with None"),
    "keep listeners": (1, "listens to"),
    "keep meters": (2, "the operator meters"),
    "always write": (1, "writes: PATCH"),
}
"""By mutation: a seed that finds it, and what is said then. With all controls in place these seeds find nothing, as the
run below shows."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Faults are what all this is about."""
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("name", MUTATIONS)
def test_it_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seed, says = FOUND[name]
    with monkeypatch.context() as broken:
        MUTATIONS[name](broken)
        with pytest.RaisesGroup(AssertionError, allow_unwrapped=True, flatten_subgroups=True) as found:
            explore(seed, STEPS)
    assert says in repr(found.value)


@pytest.mark.parametrize("seed", sorted({seed for seed, _ in FOUND.values()}))
def test_with_all_controls_nothing_is(seed: int) -> None:
    explore(seed, STEPS)
