"""Pod statuses as kubelets write them; tests/sessions/pods has recorded ones."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

from agentsession.resources.names import CONTAIN_CONTAINER, RUNNER_CONTAINER
from agentsession_runner.protocol import EXIT_NOT_CONTAINED

Failure = Literal["Evicted", "OOMKilled", "NotContained", "Exited"]
FAILURES: tuple[Failure, ...] = get_args(Failure)


def running(address: str, now: datetime) -> dict[str, Any]:
    """Contained, and its runner runs; whether its agent is connected, a probe has to find out."""
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": _time(now),
        "initContainerStatuses": [_container(CONTAIN_CONTAINER, _ended(0, now))],
        "containerStatuses": [_container(RUNNER_CONTAINER, {"running": {"startedAt": _time(now)}})],
    }


def probed(status: Mapping[str, Any], *, ready: bool, now: datetime) -> dict[str, Any]:
    """What a readiness probe found, in the status of a pod that runs."""
    said = {"status": "True" if ready else "False", "lastTransitionTime": _time(now)}
    return {**status, "conditions": [{"type": type_, **said} for type_ in ("ContainersReady", "Ready")]}


def stuck() -> dict[str, Any]:
    """Its image is not to be had."""
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    return {"phase": "Pending", "initContainerStatuses": [_container(CONTAIN_CONTAINER, waiting)]}


def failed(how: Failure, now: datetime, started: str | None) -> dict[str, Any]:
    """It has ended."""
    status: dict[str, Any] = {"phase": "Failed", "startTime": started or _time(now)}
    init, runner = _ended(0, now), _ended(1, now)
    if how == "Evicted":
        return {**status, "reason": "Evicted", "message": "the node was low on resource: memory"}
    if how == "NotContained":
        init = _ended(EXIT_NOT_CONTAINED, now, "reached 10.96.0.1:443")
        return {**status, "initContainerStatuses": [_container(CONTAIN_CONTAINER, init)]}
    if how == "OOMKilled":
        runner["terminated"] |= {"exitCode": 137, "reason": "OOMKilled"}
    return {
        **status,
        "initContainerStatuses": [_container(CONTAIN_CONTAINER, init)],
        "containerStatuses": [_container(RUNNER_CONTAINER, runner)],
    }


def _container(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": "runner:1",
        "imageID": "x",
        "restartCount": 0,
        "ready": "running" in state,
        "state": state,
    }


def _ended(code: int, now: datetime, message: str = "") -> dict[str, Any]:
    said = {"message": message} if message else {}
    return {"terminated": {"exitCode": code, "startedAt": _time(now), "finishedAt": _time(now), **said}}


def _time(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
