"""Why a session's pod does not get on, or ended: what the cluster's components wrote, as a reason of ours."""

from dataclasses import dataclass

from agentsession_runner import protocol

from .podstatus import ContainerState, PodStatus, Terminated

IMAGE_WAITING = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
"""Reasons of a waiting container, from pkg/kubelet/images/types.go."""
CREATE_WAITING = {"CreateContainerConfigError", "PreCreateHookError", "CreateContainerError", "RunContainerError"}
"""The same, from pkg/kubelet/kuberuntime/kuberuntime_container.go."""
NEVER_STARTED = {"StartError", "ContainerCannotRun"}
"""Reasons of a terminated container whose process never ran: its message is the container runtime's."""
LOST_STATE = {"ContainerStatusUnknown", "Unknown"}
"""Reasons of a terminated container that was not there any more when the node looked, as after a restart of it."""
NODE_ENDED = {"Evicted", "NodeLost", "Shutdown", "Terminated", "NodeShutdown", "Preempting"}
"""Reasons of a pod that its node ended."""
POD_REFUSED = "PodRefused"
"""The API server does not take the pod, or the node that it was given to does not."""
OUT_OF_TIME = "WallClockExceeded"
"""The pod has had its activeDeadlineSeconds, whatever it did with them."""
WIDENED = "WidenedByPolicy"
"""A NetworkPolicy of somebody else's lets the pod reach more."""


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not get on, or ended: a reason of ours and one line."""

    reason: str
    message: str


def diagnose(status: PodStatus, contain: ContainerState, runner: ContainerState) -> Trouble | None:
    """The first thing that explains why there is no working runner; the runner's own words are not among them."""
    return (
        _ended_by_cluster(status)
        or _ended(contain, runner)
        or _waiting(contain)
        or _waiting(runner)
        or _unscheduled(status)
        or _failed(status)
    )


def _ended_by_cluster(status: PodStatus) -> Trouble | None:
    if status.reason == "DeadlineExceeded":
        return Trouble(OUT_OF_TIME, "limits.wallClock is over")
    if status.reason in NODE_ENDED:
        return _evicted(status.message or status.reason)
    for condition in status.conditions:  # who deletes or ends a pod for the cluster's sake says so before
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return _evicted(f"{condition.reason}: {condition.message}")
    return None


def _ended(contain: ContainerState, runner: ContainerState) -> Trouble | None:
    ends = [state.terminated for state in (contain, runner) if state.terminated is not None]
    for end in ends:
        if end.reason == "OOMKilled":
            limit = "spec.runtime.resources.limits.memory"
            why = f"the runner went over its memory limit: raise {limit} in a new AgentSession"
            return Trouble("RunnerOutOfMemory", why)
        if end.reason in NEVER_STARTED:
            return _not_created(end.message)
        if end.reason in LOST_STATE:
            return _evicted("its node lost the container, as when it restarts")
    if contain.terminated is not None and contain.terminated.exit_code != 0:
        return _containment(contain.terminated)
    if runner.terminated is not None:
        return Trouble("RunnerExited", f"the runner's process ended with exit code {runner.terminated.exit_code}")
    return None


def _waiting(container: ContainerState) -> Trouble | None:
    waiting = container.waiting
    if waiting is not None and waiting.reason in IMAGE_WAITING:
        return Trouble("ImageUnavailable", f"{waiting.reason}: {_line(waiting.message)}")
    if waiting is not None and waiting.reason in CREATE_WAITING:
        return _not_created(f"{waiting.reason}: {waiting.message}")
    return None


def _unscheduled(status: PodStatus) -> Trouble | None:
    """The scheduler's word; while the pod waits behind its gate, it has none."""
    for condition in status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason != "SchedulingGated":
            return Trouble("Unschedulable", _line(condition.message) or condition.reason)
    return None


def _failed(status: PodStatus) -> Trouble | None:
    if status.phase == "Failed" and not status.init_container_statuses:
        return Trouble(POD_REFUSED, f"the node refuses the pod: {_line(status.message) or status.reason}")
    if status.phase in ("Succeeded", "Failed"):
        return Trouble("RunnerExited", _line(status.message) or "the runner pod ended")
    return None


def _evicted(why: str) -> Trouble:
    return Trouble("RunnerEvicted", f"the cluster ended the runner: {_line(why)}")


def _not_created(why: str) -> Trouble:
    return Trouble("ContainerNotCreated", f"the node cannot start the container: {_line(why)}")


def _containment(ended: Terminated) -> Trouble:
    reasons = {
        protocol.EXIT_NOT_CONTAINED: "NotContained",
        protocol.EXIT_NO_IDENTITY: "NoIdentity",
        protocol.EXIT_BAD_VOLUME: "BadVolume",
        protocol.EXIT_BAD_ENVIRONMENT: "RunnerMisconfigured",
    }
    reason = reasons.get(ended.exit_code, "ContainmentCheckFailed")
    return Trouble(reason, _line(ended.message) or f"the containment check ended with exit code {ended.exit_code}")


def _line(text: str) -> str:
    """One line of printable text, short enough for a condition."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:512]
