"""The part of a pod's status that is read, as the API server has it."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from agentsession.api.base import StatusModel, Timestamp

PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]


class Terminated(StatusModel):
    """A container that ended."""

    exit_code: int
    reason: str = ""
    message: str = ""
    finished_at: Timestamp | None = None


class Waiting(StatusModel):
    """A container that does not run yet."""

    reason: str = ""
    message: str = ""


class ContainerState(StatusModel):
    """One of the three is set."""

    terminated: Terminated | None = None
    waiting: Waiting | None = None
    running: dict[str, object] | None = None


class ContainerStatus(StatusModel):
    """A container as its node sees it."""

    name: str
    state: ContainerState = ContainerState()


class PodCondition(StatusModel):
    """A condition of a pod."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: Timestamp | None = None


class PodStatus(StatusModel):
    """What the kubelet, the scheduler and whoever deletes the pod wrote."""

    phase: PodPhase = "Pending"
    reason: str = ""
    message: str = ""
    pod_ip: str | None = Field(default=None, alias="podIP")
    start_time: Timestamp | None = None
    conditions: list[PodCondition] = []
    init_container_statuses: list[ContainerStatus] = []
    container_statuses: list[ContainerStatus] = []

    def holds(self, type_: str) -> bool:
        """Whether a condition is True."""
        return any(condition.type == type_ and condition.status == "True" for condition in self.conditions)

    def since(self, type_: str) -> datetime | None:
        """When a condition became True; None if it is not."""
        times = (item.last_transition_time for item in self.conditions if (item.type, item.status) == (type_, "True"))
        return next(times, None)
