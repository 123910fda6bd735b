"""What a session's decision needs to know of its pod, read from the object as the API server has it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

from pydantic import BeforeValidator

from agentsession.api.base import KubeModel, StatusModel
from agentsession.keys.grant import Grant
from agentsession.keys.keyring import InvalidTokenError
from agentsession.keys.membership import Membership
from agentsession.keys.seals import Seals
from agentsession.kube.objects import Key, KubeObject, annotations_of
from agentsession.kube.versions import Versions
from agentsession.resources.names import CONTAIN_CONTAINER, GRANT_ANNOTATION, MEMBERSHIP_ANNOTATION, RUNNER_CONTAINER

from .podstatus import ContainerState, ContainerStatus, PodPhase, PodStatus
from .trouble import Trouble, diagnose


@dataclass(frozen=True)
class PodView:
    """A runner pod. `grant` is set only if this operator's keys signed it for this very pod."""

    namespace: str
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
    membership: Membership | None
    """What it waits for, if it was made for a pool; like the grant only if this operator signed it for this pod."""
    ready: bool
    """The agent in it is connected."""
    ready_at: datetime | None
    """Since when; whole seconds."""
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
    def key(self) -> Key:
        """(namespace, name)."""
        return self.namespace, self.name

    @property
    def warm(self) -> bool:
        """Whether it was made for a pool, and claimed when its agent was connected."""
        return self.grant is not None and self.grant.claimed is not None

    def made_for(self, pool_uid: str, revision: str) -> bool:
        """Whether the operator made it for that pool, of that revision."""
        member = self.membership
        return member is not None and (member.pool_uid, member.revision) == (pool_uid, revision)

    @property
    def deleting(self) -> bool:
        return self.gone_by is not None

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


def served_first(pod: PodView, session_uid: str) -> tuple[bool, int, bool, str]:
    """Orders the pods of a session: the greatest is the one that the egress plane serves, if it serves any."""
    granted = pod.grant is not None and pod.grant.session_uid == session_uid
    epoch = pod.grant.epoch if pod.grant is not None else 0
    return granted, epoch, not (pod.deleting or pod.ended), pod.uid


class _Spec(StatusModel):
    active_deadline_seconds: int | None = None


class _Pod(KubeModel):
    spec: _Spec = _Spec()
    status: Annotated[PodStatus, BeforeValidator(lambda value: value or {})] = PodStatus()


class Views(Versions[PodView]):
    """Looks at pods through the seals on them. Raises pydantic.ValidationError for what is no pod."""

    def __init__(self, seals: Seals) -> None:
        super().__init__(lambda pod: view(pod, seals), _all_sealed)
        self._seals = seals

    def forget(self, obj: KubeObject) -> None:
        """The pod is gone."""
        super().forget(obj)
        self._seals.forget(annotations_of(obj).values())


def view(pod: Mapping[str, object], seals: Seals) -> PodView:
    """The view of a pod object. Raises pydantic.ValidationError if it is not one."""
    parsed = _Pod.model_validate(pod)
    status, deadline = parsed.status, parsed.spec.active_deadline_seconds
    contain = _state(status.init_container_statuses, CONTAIN_CONTAINER)
    runner = _state(status.container_statuses, RUNNER_CONTAINER)
    return PodView(
        namespace=parsed.metadata.namespace,
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
        grant=_sealed(parsed, GRANT_ANNOTATION, seals.grant),
        membership=_sealed(parsed, MEMBERSHIP_ANNOTATION, seals.membership),
        ready=status.holds("Ready"),
        ready_at=status.since("Ready"),
        set_up=status.holds("PodReadyToStartContainers"),
        contained=contain.terminated is not None and contain.terminated.exit_code == 0,
        running=runner.running is not None,
        trouble=diagnose(status, contain, runner),
        ended_at=_ended_at(status, contain, runner),
    )


def _all_sealed(pod: KubeObject, seen: PodView) -> bool:
    """Whether the key to each seal is known: it may come yet."""
    found = annotations_of(pod)
    return (GRANT_ANNOTATION in found) == (seen.grant is not None) and (MEMBERSHIP_ANNOTATION in found) == (
        seen.membership is not None
    )


Sealed = TypeVar("Sealed", Grant, Membership)


def _sealed(pod: _Pod, annotation: str, verify: Callable[[str], Sealed]) -> Sealed | None:
    token = pod.metadata.annotations.get(annotation)
    if token is None:
        return None
    try:
        sealed = verify(token)
    except InvalidTokenError:
        return None
    return sealed if sealed.pod_uid == pod.metadata.uid else None


def _state(containers: list[ContainerStatus], name: str) -> ContainerState:
    return next((c.state for c in containers if c.name == name), ContainerState())


def _ended_at(status: PodStatus, *states: ContainerState) -> datetime | None:
    if status.phase not in ("Succeeded", "Failed"):
        return None
    times = [s.terminated.finished_at for s in states if s.terminated is not None and s.terminated.finished_at]
    return max(times, default=status.start_time)
