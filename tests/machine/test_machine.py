"""Sessions are created, changed, suspended and deleted while operators crash, requests get lost and nodes die.

At every moment: no session has two runners that the egress plane would serve, no prompt runs twice, status takes
nothing back, no tenant has more runners than it may. At the end of each example, when faults are over: everything is
at rest with a reason, nothing is left over, and looking again writes nothing.
"""

import logging

import pytest

from .explore import explore

pytestmark = pytest.mark.apiserver

STEPS = 5000
SEED = 1


def test_whatever_happens(caplog: pytest.LogCaptureFixture) -> None:
    for noisy in ("agentsession", "aiohttp"):  # of faults, which is what they are for
        caplog.set_level(logging.CRITICAL, noisy)
    caplog.set_level(logging.INFO, "agentsession.kube.worker")  # these are in the machine's own log
    print(f"seed {SEED}, {STEPS} steps")
    made, idle = explore(SEED, STEPS)
    print(f"{made} steps, {idle} of them found nothing to do")
