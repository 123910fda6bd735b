"""What can happen, as the rules of a hypothesis state machine; people.py, shared.py, running.py, control.py and
meanwhile.py say what each of them does.

A rule draws all its choices at once and picks from what is there by number. Where nothing is, nothing happens. After
each step everything is judged that was broken in it, and at the end of an example whether all converges.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from agentsession.kube.objects import Key

from . import control, meanwhile, people, running, shared
from .clock import SimulatedLoop
from .converged import converge
from .places import COMMONS, GUESTS, NAMESPACE
from .podstatus import FAILURES
from .world import World

ENDLESS = 100_000.0
"""Simulated seconds after which a step hangs."""
PICK = st.integers(0, 999)
FEW = st.integers(1, 4)
TENANTS = st.sampled_from([*[(NAMESPACE, "default")] * 3, (NAMESPACE, "other"), (GUESTS, "other")])


class Machine(RuleBasedStateMachine):
    """One example: a world of its own, from its beginning to its rest."""

    steps: ClassVar[int] = 0
    idle: ClassVar[int] = 0
    """Of all examples together: steps, and those of them that found nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        self.world = World(self.loop)
        self.made = 0
        self.failed = False
        self.loop.run_until_complete(self.world.open())

    def step(self, said: str, move: Callable[..., Awaitable[object]], *how: object, **choice: object) -> None:
        """Make a move, and judge."""
        self.made += 1
        type(self).steps += 1
        self.world.log.append(f"{self.made}. {said}")
        line = len(self.world.log) - 1
        if self._judged(self._make(move(self.world, *how, **choice))) is False:
            type(self).idle += 1
            self.world.log[line] += " (not possible)"

    async def _make(self, move: Awaitable[object]) -> object:
        done = await move
        await meanwhile.meanwhile(self.world, self.made)
        return done

    def _judged(self, doing: Coroutine[Any, Any, object]) -> object:
        try:
            done = self.loop.run_until_complete(asyncio.wait_for(doing, ENDLESS))
            self.world.judge_pace()
            assert not self.world.history.violations, "\n".join(self.world.history.violations)
        except BaseException as error:
            self.failed = True
            error.add_note("\n".join(["what was done:", *self.world.log]))
            raise
        return done

    def teardown(self) -> None:
        try:
            if self.made and not self.failed:
                self._judged(converge(self.world))
        finally:
            try:
                self.loop.run_until_complete(self.world.close())
            finally:
                self.loop.end()
                gc.collect()

    @rule(
        lifecycle=st.sampled_from(["Ephemeral", "LongRunning"]),
        tenant=st.sampled_from(["default"] * 6 + ["other"] * 2 + ["nobody"]),
        prompt=st.sampled_from(["inline"] * 5 + ["there", "missing"]),
        model=st.sampled_from(["m"] * 4 + [""] * 5 + ["forbidden"]),
        limits=st.sampled_from([{}, {}, {}, {"turns": 1}, {"wallClock": "30s"}]),
        ttl=st.sampled_from([None, None, 0, 30]),
        pool=st.sampled_from(["", "", "p", "p", "p", "q"]),
        exhausted=st.sampled_from(["Wait", "Wait", "ColdStart"]),
        number=FEW,
    )
    def create(self, number: int, **choice: Any) -> None:
        self.step(f"create {number} sessions: {choice}", people.create, number, **choice)

    @rule(pick=PICK, number=FEW)
    def follow_up(self, pick: int, number: int) -> None:
        self.step(f"{number} follow-ups", people.follow_up, pick, number)

    @rule(pick=PICK, limits=st.sampled_from([{"turns": 1}, {"turns": 500}, {"wallClock": "10s"}, {"wallClock": "5m"}]))
    def limit(self, pick: int, limits: dict[str, Any]) -> None:
        self.step(f"limits: {limits}", people.limit, pick, limits)

    @rule(pick=PICK, number=FEW)
    def delete(self, pick: int, number: int) -> None:
        self.step(f"delete {number} sessions", people.delete, pick, number)

    @rule(pick=PICK, wanted=st.booleans())
    def suspend(self, pick: int, wanted: bool) -> None:
        self.step("suspend a session" if wanted else "resume a session", people.suspend, pick, wanted)

    @rule(
        what=st.sampled_from(
            ["tenant comes", "tenant comes", "tenant goes", "policy goes", "policy changes", "map comes", "map goes"]
        ),
        tenant=TENANTS,
        place=st.sampled_from([NAMESPACE, COMMONS]),
        most=st.integers(1, 6),
    )
    def configure(self, what: str, tenant: Key, place: str, most: int) -> None:
        self.step(f"{what} ({tenant}, {place}, {most})", people.configure, what, tenant, place, most)

    @rule(
        what=st.sampled_from(["comes", "scales", "scales", "rolls out", "goes"]),
        name=st.sampled_from(["p", "p", "q"]),
        replicas=st.integers(0, 5),
        scaling=st.sampled_from([{}, {}, {"mode": "External", "min": 1, "max": 3}, {"mode": "Auto", "max": 3}]),
        prompt=st.sampled_from(["", people.PROMPT]),
        rush=st.sampled_from([0, 0, 2]),
    )
    def pool(self, what: str, name: str, replicas: int, scaling: dict[str, Any], prompt: str, rush: int) -> None:
        said = f"pool {name} {what} ({replicas}, {scaling}, {prompt}), {rush} sessions come"
        self.step(said, people.pool, what, name, replicas, scaling, prompt, rush)

    @rule(
        home=st.sampled_from([NAMESPACE, GUESTS]),
        tenant=st.sampled_from([*["other"] * 5, "default"]),
        lifecycle=st.sampled_from(["Ephemeral", "LongRunning"]),
        exhausted=st.sampled_from(["Wait", "Wait", "ColdStart"]),
        number=FEW,
    )
    def share(self, home: str, tenant: str, lifecycle: str, exhausted: str, number: int) -> None:
        said = f"{number} sessions of {home}/{tenant} come for a shared runner ({lifecycle}, {exhausted})"
        self.step(said, shared.come, home, tenant, lifecycle, exhausted, number)

    @rule(
        what=st.sampled_from(["comes", "scales", "scales", "rolls out", "goes", "admits"]),
        replicas=st.integers(0, 3),
        scaling=st.sampled_from([{}, {}, {"mode": "Auto", "max": 3}]),
        prompt=st.sampled_from(["", people.PROMPT]),
        admits=st.sampled_from([shared.ALL, shared.ALL, shared.PEOPLE]),
    )
    def shared_pool(self, what: str, **choice: Any) -> None:
        self.step(f"the shared pool {what}: {choice}", shared.change, what, **choice)

    @rule(home=st.sampled_from([NAMESPACE, GUESTS]), given=st.booleans())
    def consent(self, home: str, given: bool) -> None:
        said = "consents" if given else "consents no more"
        self.step(f"tenant {home}/other {said} to shared pools", shared.consent, (home, "other"), given)

    @rule(number=st.integers(1, 8))
    def kubelets_work(self, number: int) -> None:
        self.step(f"kubelets handle {number} pods", running.kubelets_work, number)

    @rule(number=st.integers(1, 8), reason=st.sampled_from(["", "", "", "the model is tired"]))
    def agents_answer(self, number: int, reason: str) -> None:
        self.step(f"{number} agents answer {reason}", running.agents_answer, number, reason)

    @rule(
        what=st.sampled_from([*FAILURES, "image missing", "deleted", "force-deleted", "node lost", "killed"]), pick=PICK
    )
    def pod_trouble(self, what: str, pick: int) -> None:
        self.step(f"a pod is {what}", running.pod_trouble, what, pick)

    @rule(what=st.sampled_from(["loses answers", "cut off", "its agent dies"]), pick=PICK)
    def runner_trouble(self, what: str, pick: int) -> None:
        self.step(f"a runner {what}", running.runner_trouble, what, pick)

    @rule(what=st.sampled_from(["crash", "crash", "stop", "freeze", "join"]), pick=PICK)
    def operator(self, what: str, pick: int) -> None:
        self.step(f"operator: {what}", control.operator, what, pick)

    @rule(write=st.integers(1, 30), lose=st.sampled_from(["request", "answer"]), late=st.sampled_from([0.0, 8.0]))
    def operator_crashes_at(self, write: int, lose: Any, late: float) -> None:
        said = f"the operator is to crash at write {write}, {lose} lost, {late} s late"
        self.step(said, control.crash_at, write, lose, late)

    @rule(lose=st.sampled_from(["request", "answer", "answer"]), late=st.sampled_from([0.0, 8.0]))
    def operator_crashes_claiming(self, lose: Any, late: float) -> None:
        said = f"the operator is to crash at its next claim, {lose} lost, {late} s late"
        self.step(said, control.crash_claiming, lose, late)

    @rule(fault=st.sampled_from([*control.FAULTS, "none", "none"]), where=st.sampled_from([*control.PLACES]))
    def api_trouble(self, fault: str, where: str) -> None:
        self.step(f"API server: {fault} {where}", control.api_trouble, fault, where)

    @rule(what=st.sampled_from(["hang", "flow", "flow", "break"]), pick=PICK)
    def watches(self, what: str, pick: int) -> None:
        self.step(f"watches {what}", control.watches, what, pick)

    @rule(what=st.sampled_from(["restarts", "is silent", "reports", "reports"]))
    def egress_plane(self, what: str) -> None:
        self.step(f"the egress plane {what}", control.egress_plane, what)

    @rule(seconds=st.sampled_from([0.3, 0.3, 1, 3, 8, 40, 700]))
    def time_passes(self, seconds: float) -> None:
        self.step(f"{seconds} s pass", meanwhile.time_passes, seconds)

    @rule(minutes=st.sampled_from([-10, -1, 1, 10]))
    def clock_steps(self, minutes: int) -> None:
        self.step(f"the operators' clock goes {minutes} min", meanwhile.clock_steps, minutes)

    @rule()
    def settle(self) -> None:
        self.step("things settle", meanwhile.settle)
