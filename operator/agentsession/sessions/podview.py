"""What a session's decision needs to know of its pod, read from the object as the API server has it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from agentsession.api.base import KubeModel, StatusModel, Timestamp
from agentsession.keys.grant import Grant
from agentsession.keys.keyring import InvalidTokenError
from agentsession.resources.names import CONTAIN_CONTAINER, GRANT_ANNOTATION, RUNNER_CONTAINER
from agentsession_runner import protocol

PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]

STUCK_WAITING = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
}


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not get on, or ended: a reason of ours and one line."""

    reason: str
    message: str


@dataclass(frozen=True)
class PodView:
    """A runner pod. `grant` is set only if this operator's keys signed it for this very pod."""

    name: str
    uid: str
    phase: PodPhase
    ip: str | None
    started: datetime | None
    deleting: bool
    grant: Grant | None
    contained: bool
    """The init container ended well: identity in place, nothing forbidden reached."""
    running: bool
    """The runner container runs."""
    trouble: Trouble | None
    ended_at: datetime | None
    """When its last container ended; set only if `ended`."""

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


class _Terminated(StatusModel):
    exit_code: int
    reason: str = ""
    message: str = ""
    finished_at: Timestamp | None = None


class _Waiting(StatusModel):
    reason: str = ""
    message: str = ""


class _State(StatusModel):
    terminated: _Terminated | None = None
    waiting: _Waiting | None = None
    running: dict[str, object] | None = None


class _Container(StatusModel):
    name: str
    state: _State = _State()


class _PodCondition(StatusModel):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(StatusModel):
    phase: PodPhase = "Pending"
    reason: str = ""
    message: str = ""
    pod_ip: str | None = Field(default=None, alias="podIP")
    start_time: Timestamp | None = None
    conditions: list[_PodCondition] = []
    init_container_statuses: list[_Container] = []
    container_statuses: list[_Container] = []


class _Pod(KubeModel):
    status: Annotated[_Status, BeforeValidator(lambda value: value or {})] = _Status()


def view(pod: Mapping[str, object], verify: Callable[[str], Grant]) -> PodView:
    """The view of a pod object. Raises pydantic.ValidationError if it is not one.

    verify: the grant in an annotation that this operator signed; raises InvalidTokenError.
    """
    parsed = _Pod.model_validate(pod)
    status = parsed.status
    contain = _state(status.init_container_statuses, CONTAIN_CONTAINER)
    runner = _state(status.container_statuses, RUNNER_CONTAINER)
    return PodView(
        name=parsed.metadata.name,
        uid=parsed.metadata.uid,
        phase=status.phase,
        ip=status.pod_ip,
        started=status.start_time,
        deleting=parsed.metadata.deletion_timestamp is not None,
        grant=_grant(parsed, verify),
        contained=contain.terminated is not None and contain.terminated.exit_code == 0,
        running=runner.running is not None,
        trouble=_trouble(status, contain, runner),
        ended_at=_ended_at(status, contain, runner),
    )


def _grant(pod: _Pod, verify: Callable[[str], Grant]) -> Grant | None:
    token = pod.metadata.annotations.get(GRANT_ANNOTATION)
    if token is None:
        return None
    try:
        grant = verify(token)
    except InvalidTokenError:
        return None
    return grant if grant.pod_uid == pod.metadata.uid else None


def _state(containers: list[_Container], name: str) -> _State:
    return next((c.state for c in containers if c.name == name), _State())


def _trouble(status: _Status, contain: _State, runner: _State) -> Trouble | None:
    """The first thing that explains why there is no working runner; the runner's own words are not among them."""
    if status.reason == "DeadlineExceeded":
        return Trouble("WallClockExceeded", "limits.wallClock is over")
    if status.reason in ("Evicted", "NodeLost", "Shutdown", "Terminated", "NodeShutdown"):
        return Trouble("RunnerEvicted", f"the node ended the runner: {_line(status.message) or status.reason}")
    if any(state.terminated is not None and state.terminated.reason == "OOMKilled" for state in (contain, runner)):
        limit = "spec.runtime.resources.limits.memory"
        return Trouble(
            "RunnerOutOfMemory", f"the runner went over its memory limit: raise {limit} in a new AgentSession"
        )
    if contain.terminated is not None and contain.terminated.exit_code != 0:
        return _containment(contain.terminated)
    if runner.terminated is not None:
        return Trouble("RunnerExited", f"the runner's process ended with exit code {runner.terminated.exit_code}")
    for container in (contain, runner):
        if container.waiting is not None and container.waiting.reason in STUCK_WAITING:
            return Trouble("ImageUnavailable", f"{container.waiting.reason}: {_line(container.waiting.message)}")
    for condition in status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return Trouble("Unschedulable", _line(condition.message) or condition.reason)
    if status.phase in ("Succeeded", "Failed"):
        return Trouble("RunnerExited", _line(status.message) or "the runner pod ended")
    return None


def _containment(ended: _Terminated) -> Trouble:
    reasons = {
        protocol.EXIT_NOT_CONTAINED: "NotContained",
        protocol.EXIT_NO_IDENTITY: "NoIdentity",
        protocol.EXIT_BAD_VOLUME: "BadVolume",
        protocol.EXIT_BAD_ENVIRONMENT: "RunnerMisconfigured",
    }
    reason = reasons.get(ended.exit_code, "ContainmentCheckFailed")
    return Trouble(reason, _line(ended.message) or f"the containment check ended with exit code {ended.exit_code}")


def _ended_at(status: _Status, *states: _State) -> datetime | None:
    if status.phase not in ("Succeeded", "Failed"):
        return None
    times = [s.terminated.finished_at for s in states if s.terminated is not None and s.terminated.finished_at]
    return max(times, default=status.start_time)


def _line(text: str) -> str:
    """One line of printable text, short enough for a condition."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:512]
