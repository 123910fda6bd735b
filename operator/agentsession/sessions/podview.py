"""What a session's decision needs to know of its pod, read from the object as the API server has it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator

from agentsession.api.base import KubeModel, StatusModel
from agentsession.keys.grant import Grant
from agentsession.keys.keyring import InvalidTokenError
from agentsession.resources.names import CONTAIN_CONTAINER, GRANT_ANNOTATION, RUNNER_CONTAINER

from .podstatus import ContainerState, ContainerStatus, PodPhase, PodStatus
from .trouble import Trouble, diagnose


@dataclass(frozen=True)
class PodView:
    """A runner pod. `grant` is set only if this operator's keys signed it for this very pod."""

    name: str
    uid: str
    phase: PodPhase
    ip: str | None
    created: datetime | None
    started: datetime | None
    gone_by: datetime | None
    """When it should be gone: its deletion and its grace period; None if it is not being deleted."""
    grace_seconds: int | None
    """That grace period."""
    deadline: timedelta | None
    """activeDeadlineSeconds, which the kubelet holds it to."""
    node_silent: bool
    """Its node is not heard of any more: whether the containers still run, nobody knows."""
    grant: Grant | None
    set_up: bool
    """Its node has its volumes and its network ready."""
    contained: bool
    """The init container ended well: identity in place, nothing forbidden reached."""
    running: bool
    """The runner container runs."""
    trouble: Trouble | None
    """Why it does not run, or will not for long."""
    ended_at: datetime | None
    """When its last container ended; set only if `ended`."""

    @property
    def deleting(self) -> bool:
        return self.gone_by is not None

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


class _Spec(StatusModel):
    active_deadline_seconds: int | None = None


class _Pod(KubeModel):
    spec: _Spec = _Spec()
    status: Annotated[PodStatus, BeforeValidator(lambda value: value or {})] = PodStatus()


def view(pod: Mapping[str, object], verify: Callable[[str], Grant]) -> PodView:
    """The view of a pod object. Raises pydantic.ValidationError if it is not one.

    verify: the grant in an annotation that this operator signed; raises InvalidTokenError.
    """
    parsed = _Pod.model_validate(pod)
    status, deadline = parsed.status, parsed.spec.active_deadline_seconds
    contain = _state(status.init_container_statuses, CONTAIN_CONTAINER)
    runner = _state(status.container_statuses, RUNNER_CONTAINER)
    return PodView(
        name=parsed.metadata.name,
        uid=parsed.metadata.uid,
        phase=status.phase,
        ip=status.pod_ip,
        created=parsed.metadata.creation_timestamp,
        started=status.start_time,
        gone_by=parsed.metadata.deletion_timestamp,
        grace_seconds=parsed.metadata.deletion_grace_period_seconds,
        deadline=timedelta(seconds=deadline) if deadline is not None else None,
        node_silent=status.holds("ContainersReady") and not status.holds("Ready"),
        grant=_grant(parsed, verify),
        set_up=status.holds("PodReadyToStartContainers"),
        contained=contain.terminated is not None and contain.terminated.exit_code == 0,
        running=runner.running is not None,
        trouble=diagnose(status, contain, runner),
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


def _state(containers: list[ContainerStatus], name: str) -> ContainerState:
    return next((c.state for c in containers if c.name == name), ContainerState())


def _ended_at(status: PodStatus, *states: ContainerState) -> datetime | None:
    if status.phase not in ("Succeeded", "Failed"):
        return None
    times = [s.terminated.finished_at for s in states if s.terminated is not None and s.terminated.finished_at]
    return max(times, default=status.start_time)
