"""Sessions are created, changed, suspended and deleted while operators crash, requests get lost and nodes die.

At every moment: no session has two runners that the egress plane would serve, no prompt runs twice, status takes
nothing back, no tenant has more runners than it may. At the end of each example, when faults are over: everything is
at rest with a reason, nothing is left over, and looking again writes nothing.
"""

import logging

import pytest

from .explore import explore

pytestmark = pytest.mark.apiserver

STEPS = 1000
SEEDS = range(100, 105)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # faults are what all this is about; the machine has a log of its own
    made, idle = explore(seed, STEPS)
    print(f"seed {seed}: {made} steps, {idle} of them found nothing to do")
