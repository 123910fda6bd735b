"""What is counted of a change of status, and by whom."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from agentsession.api.base import Condition
from agentsession.api.session import AgentSessionStatus, Turn
from agentsession.sessions.metrics import Phases, observe

pytestmark = pytest.mark.unit
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def status(*, ready: bool = False, finished: str = "", turns: int = 0) -> AgentSessionStatus:
    made = AgentSessionStatus()
    made.timings.requested = NOW
    made.timings.ready = NOW + timedelta(seconds=3) if ready else None
    if finished:
        made.conditions = [Condition(type="Finished", status="True", reason=finished, last_transition_time=NOW)]
    made.turns = [
        Turn(id=f"t{number}", uuid="u", state="Completed", started=NOW, finished=NOW) for number in range(turns)
    ]
    return made


def test_each_step_is_counted_once() -> None:
    steps = [status(), status(ready=True), status(ready=True, turns=1), status(ready=True, turns=2, finished="Test")]
    seconds = counted("agentsession_session_ready_seconds_sum", start="Cold")
    turns = counted("agentsession_turns_total", state="Completed")
    for old, new in zip(steps, [*steps[1:], steps[-1]], strict=True):
        observe(old, new)
    assert counted("agentsession_session_ready_seconds_sum", start="Cold") - seconds == 3
    assert counted("agentsession_turns_total", state="Completed") - turns == 2
    assert counted("agentsession_sessions_finished_total", reason="Test") == 1


@pytest.mark.parametrize("leading", [False, True])
def test_only_the_leader_counts_phases(*, leading: bool) -> None:
    sessions = [{"status": {"phase": "Idle"}}, {"status": {"phase": "Idle"}}, {}]
    (family,) = Phases(sessions, lambda: leading).collect()
    found = {sample.labels["phase"]: sample.value for sample in family.samples}
    assert found == ({"Idle": 2, "Pending": 1} if leading else {})
