"""Runs the state machine from a seed."""

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from .rules import Machine

STEPS_PER_EXAMPLE = 100


def explore(chosen: int, steps: int, *, shrink: bool = False) -> tuple[int, int]:
    """Make so many steps, in examples. Returns how many were made, and how many of them found nothing to do.

    The same seed makes the same steps. Raises AssertionError for what must not be, with all that was done as a note.
    """
    checked = settings(
        max_examples=1
        + max(1, steps // STEPS_PER_EXAMPLE),  # the first one is hypothesis' simplest: the same rule always
        stateful_step_count=STEPS_PER_EXAMPLE,
        deadline=None,
        database=None,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    Machine.steps = Machine.idle = 0
    seed(chosen)(Machine)
    run_state_machine_as_test(Machine, settings=checked)  # type: ignore[no-untyped-call]
    return Machine.steps, Machine.idle
