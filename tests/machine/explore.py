"""Runs the state machine from a seed."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import run_state_machine_as_test

from .rules import Machine

STEPS_PER_EXAMPLE = 100


def explore(chosen: int, steps: int, *, shrink: bool = False) -> tuple[int, int]:
    """Make so many steps, or some more, in examples. Returns how many there were, and how many found nothing to do.

    The same seed makes the same steps. Raises AssertionError for what must not be, with all that was done as a note.
    """
    checked = settings(
        max_examples=1
        + max(1, steps // STEPS_PER_EXAMPLE),  # the first one is hypothesis' simplest: the same rule always
        stateful_step_count=STEPS_PER_EXAMPLE,
        deadline=None,
        database=None,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    Machine.steps = Machine.idle = 0
    seed(chosen)(Machine)
    with _repeatable():
        run_state_machine_as_test(Machine, settings=checked)
    return Machine.steps, Machine.idle


@contextmanager
def _repeatable() -> Iterator[None]:
    """Keep out what depends on the rest of the process: hypothesis likes to choose numbers that it finds in whatever
    modules are loaded, and generators that are garbage end when it is collected."""
    gc.collect()
    gc.disable()
    try:
        with patch.object(HypothesisProvider, "_maybe_draw_constant", lambda *_, **__: None):
            yield
    finally:
        gc.enable()
