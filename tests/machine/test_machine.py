"""Sessions are created, changed and deleted while operators crash, the network lies and nodes die; see the rules.

At every moment: no session has two runners that the egress plane would serve, no prompt runs twice, status takes
nothing back, no tenant has more runners than it may. At the end of each example, when faults are over: everything is
at rest with a reason, nothing is left over, and looking again writes nothing.

MACHINE_STEPS=50000 runs longer, MACHINE_SEED=random somewhere else; `make soak` does both.
"""

import logging
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from . import moves
from .clock import SimulatedLoop
from .converged import converge
from .podstatus import FAILURES
from .world import World

pytestmark = pytest.mark.apiserver

STEPS = int(os.environ.get("MACHINE_STEPS", "5000"))
STEPS_PER_EXAMPLE = 250
SEED = os.environ.get("MACHINE_SEED", "1")

PICK = st.integers(0, 999)
FEW = st.integers(1, 4)
TENANTS = st.sampled_from(["default", "default", "default", "other"])


class Machine(RuleBasedStateMachine):
    """One example. What a rule picks is picked from what is there; where nothing is, nothing happens."""

    steps: ClassVar[int] = 0
    idle: ClassVar[int] = 0
    failed: ClassVar[tuple[int, BaseException] | None] = None
    """After how many steps of its example the machine failed, and how. Hypothesis runs that example again, to see it
    fail again; here no two runs are the same, so it is shown the same failure at the same step."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.world: World | None = None
        if self.failed is None:
            self.loop = SimulatedLoop()
            self.world = World(self.loop)
            self.loop.run_until_complete(self.world.open())

    def step(self, said: str, move: Callable[..., Awaitable[object]], *how: object, **choice: object) -> None:
        """Make a move, and judge."""
        self.made += 1
        if self.world is not None:
            cls = type(self)
            cls.steps += 1
            self.world.log.append(f"{self.made}. {said}")
            line = len(self.world.log) - 1
            if self.loop.run_until_complete(self._make(move(self.world, *how, **choice))) is False:
                cls.idle += 1
                self.world.log[line] += " (not possible)"
        self._judge()

    async def _make(self, move: Awaitable[object]) -> object:
        assert self.world is not None
        try:
            done = await move
            await moves.meanwhile(self.world, self.made)
        except Exception as error:
            error.add_note("\n".join(self.world.log))
            type(self).failed = self.made, error
            raise
        return done

    def _judge(self) -> None:
        if self.failed is None and self.world is not None and self.world.history.violations:
            lines = ["what was done:", *self.world.log, "what broke:", *self.world.history.violations]
            type(self).failed = self.made, AssertionError("\n".join(lines))
        if self.failed is not None and self.made == self.failed[0]:
            raise self.failed[1]

    def teardown(self) -> None:
        began, self.made = self.made, self.made + 1
        if self.world is None:
            self._judge()
            return
        try:
            if self.failed is None and began:
                self.loop.run_until_complete(self._make(converge(self.world)))
                self._judge()
        finally:
            try:
                self.loop.run_until_complete(self.world.close())
            finally:
                self.loop.end()

    @rule(
        lifecycle=st.sampled_from(["Ephemeral", "LongRunning"]),
        tenant=st.sampled_from(["default"] * 6 + ["other"] * 2 + ["nobody"]),
        prompt=st.sampled_from(["inline"] * 5 + ["there", "missing"]),
        model=st.sampled_from(["m"] * 9 + ["forbidden"]),
        limits=st.sampled_from([{}, {}, {}, {"turns": 1}, {"wallClock": "30s"}]),
        ttl=st.sampled_from([None, None, 0, 30]),
        number=FEW,
    )
    def create(self, number: int, **choice: Any) -> None:
        self.step(f"create {number} sessions: {choice}", moves.create, number, **choice)

    @rule(pick=PICK, number=FEW)
    def follow_up(self, pick: int, number: int) -> None:
        self.step(f"{number} follow-ups", moves.follow_up, pick, number)

    @rule(pick=PICK, limits=st.sampled_from([{"turns": 1}, {"turns": 500}, {"wallClock": "10s"}, {"wallClock": "5m"}]))
    def limit(self, pick: int, limits: dict[str, Any]) -> None:
        self.step(f"limits: {limits}", moves.limit, pick, limits)

    @rule(pick=PICK, number=FEW)
    def delete(self, pick: int, number: int) -> None:
        self.step(f"delete {number} sessions", moves.delete, pick, number)

    @rule(pick=PICK, wanted=st.booleans())
    def suspend(self, pick: int, wanted: bool) -> None:
        self.step("suspend a session" if wanted else "resume a session", moves.suspend, pick, wanted)

    @rule(
        what=st.sampled_from(
            ["tenant comes", "tenant comes", "tenant goes", "policy goes", "policy changes", "map comes", "map goes"]
        ),
        tenant=TENANTS,
        most=st.integers(1, 6),
    )
    def configure(self, what: str, tenant: str, most: int) -> None:
        self.step(f"{what} ({tenant}, {most})", moves.configure, what, tenant, most)

    @rule(number=st.integers(1, 8))
    def kubelets_work(self, number: int) -> None:
        self.step(f"kubelets handle {number} pods", moves.kubelets_work, number)

    @rule(number=st.integers(1, 8), reason=st.sampled_from(["", "", "", "the model is tired"]))
    def agents_answer(self, number: int, reason: str) -> None:
        self.step(f"{number} agents answer {reason}", moves.agents_answer, number, reason)

    @rule(
        what=st.sampled_from([*FAILURES, "image missing", "deleted", "force-deleted", "node lost", "killed"]), pick=PICK
    )
    def pod_trouble(self, what: str, pick: int) -> None:
        self.step(f"a pod is {what}", moves.pod_trouble, what, pick)

    @rule(what=st.sampled_from(["loses answers", "cut off", "its agent dies"]), pick=PICK)
    def runner_trouble(self, what: str, pick: int) -> None:
        self.step(f"a runner {what}", moves.runner_trouble, what, pick)

    @rule(what=st.sampled_from(["crash", "crash", "stop", "freeze", "join"]), pick=PICK)
    def operator(self, what: str, pick: int) -> None:
        self.step(f"operator: {what}", moves.operator, what, pick)

    @rule(write=st.integers(1, 6), lose=st.sampled_from(["request", "answer"]))
    def operator_crashes_at(self, write: int, lose: Any) -> None:
        self.step(f"the operator is to crash at write {write}, {lose} lost", moves.crash_at, write, lose)

    @rule(fault=st.sampled_from([*moves.FAULTS, "none", "none"]), where=st.sampled_from([*moves.PLACES]))
    def api_trouble(self, fault: str, where: str) -> None:
        self.step(f"API server: {fault} {where}", moves.api_trouble, fault, where)

    @rule(what=st.sampled_from(["hang", "flow", "flow", "break"]), pick=PICK)
    def watches(self, what: str, pick: int) -> None:
        self.step(f"watches {what}", moves.watches, what, pick)

    @rule(what=st.sampled_from(["restarts", "is silent", "reports", "reports"]))
    def egress_plane(self, what: str) -> None:
        self.step(f"the egress plane {what}", moves.egress_plane, what)

    @rule(seconds=st.sampled_from([0.3, 0.3, 1, 3, 8, 40, 700]))
    def time_passes(self, seconds: float) -> None:
        self.step(f"{seconds} s pass", moves.time_passes, seconds)

    @rule(minutes=st.sampled_from([-10, -1, 1, 10]))
    def clock_steps(self, minutes: int) -> None:
        self.step(f"the operators' clock goes {minutes} min", moves.clock_steps, minutes)

    @rule()
    def settle(self) -> None:
        self.step("things settle", moves.settle)


def test_whatever_happens(caplog: pytest.LogCaptureFixture) -> None:
    for noisy in ("agentsession", "aiohttp"):  # of faults, which is what they are for
        caplog.set_level(logging.CRITICAL, noisy)
    caplog.set_level(logging.INFO, "agentsession.kube.worker")  # these are in the machine's own log
    chosen = random.SystemRandom().randrange(2**32) if SEED == "random" else int(SEED)
    print(f"MACHINE_SEED={chosen}")
    checked = settings(
        max_examples=max(1, STEPS // STEPS_PER_EXAMPLE),
        stateful_step_count=STEPS_PER_EXAMPLE,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    Machine.failed, Machine.steps, Machine.idle = None, 0, 0
    seed(chosen)(Machine)
    run_state_machine_as_test(Machine, settings=checked)
    print(f"{Machine.steps} steps, {Machine.idle} of them found nothing to do")
