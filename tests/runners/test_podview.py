"""What is seen in pods as a real kubelet left them; pods/ has their JSON, from a Kubernetes 1.36 node."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentsession.keys.keyring import Jwks, Keyring
from agentsession.keys.membership import Membership
from agentsession.keys.seals import Seals
from agentsession.resources.names import MEMBERSHIP_ANNOTATION
from agentsession.runners.podview import PodView, Views, view
from agentsession.runners.trouble import Trouble
from agentsession_runner.protocol import EXIT_BAD_VOLUME, EXIT_NO_IDENTITY

pytestmark = pytest.mark.unit

PODS = Path(__file__).parent / "pods"
SEALS = Seals(Keyring.generate(datetime.now(UTC)).jwks)


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((PODS / f"{name}.json").read_text())
    return loaded


def seen(name: str) -> PodView:
    return view(load(name), SEALS)


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("succeeded", "RunnerExited", "exit code 0"),
        ("exited", "RunnerExited", "exit code 7"),
        ("not-contained", "NotContained", "still reaches 10.96.0.1:443"),
        ("out-of-memory", "RunnerOutOfMemory", "spec.runtime.resources.limits.memory"),
        ("deadline-exceeded", "WallClockExceeded", "limits.wallClock"),
        ("evicted", "RunnerEvicted", "ephemeral local storage usage exceeds"),
        ("image-unavailable", "ImageUnavailable", "localhost/agentsession/none:1"),
        ("unschedulable", "Unschedulable", "Insufficient cpu"),
        ("container-lost", "RunnerEvicted", "its node lost the container"),
    ],
)
def test_what_is_wrong_is_said(name: str, reason: str, says: str) -> None:
    trouble = seen(name).trouble
    assert trouble is not None
    assert trouble.reason == reason
    assert says in trouble.message
    assert "\n" not in trouble.message
    assert "SECRET" not in trouble.message, "what a runner says last may be session text"


def test_a_pod_behind_its_gate_is_in_no_trouble() -> None:
    pod = load("unschedulable")
    (scheduled,) = [item for item in pod["status"]["conditions"] if item["type"] == "PodScheduled"]
    scheduled.update(reason="SchedulingGated", message="Scheduling is blocked due to non-empty scheduling gates")
    assert view(pod, SEALS).trouble is None


@pytest.mark.parametrize(
    ("name", "ended", "contained"),
    [
        ("running", False, True),
        ("succeeded", True, True),
        ("exited", True, True),
        ("not-contained", True, False),
        ("out-of-memory", True, True),
        ("deadline-exceeded", True, True),
        ("evicted", True, True),
        ("image-unavailable", False, False),
        ("unschedulable", False, False),
        ("container-lost", True, True),
    ],
)
def test_how_far_it_came(name: str, *, ended: bool, contained: bool) -> None:
    pod = seen(name)
    assert (pod.ended, pod.contained) == (ended, contained)
    assert (pod.ended_at is not None) == ended
    assert pod.running == (name == "running")


def test_a_running_pod_has_an_address_a_start_and_no_trouble() -> None:
    pod = seen("running")
    assert pod.ip == load("running")["status"]["podIP"]
    assert pod.started is not None
    assert pod.trouble is None
    assert not pod.deleting
    assert pod.grant is None


def test_the_end_is_that_of_the_last_container() -> None:
    pod = seen("out-of-memory")
    runner = load("out-of-memory")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert pod.ended_at == datetime.fromisoformat(runner["finishedAt"].replace("Z", "+00:00"))


def changed(name: str, change: dict[str, Any]) -> dict[str, Any]:
    """A captured pod whose init container ended in another way."""
    pod = deepcopy(load(name))
    pod["status"]["initContainerStatuses"][0]["state"]["terminated"].update(change)
    return pod


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ({"exitCode": EXIT_NO_IDENTITY, "message": "no identity\n"}, Trouble("NoIdentity", "no identity")),
        ({"exitCode": EXIT_BAD_VOLUME, "message": "full"}, Trouble("BadVolume", "full")),
        (
            {"exitCode": 1, "message": ""},
            Trouble("ContainmentCheckFailed", "the containment check ended with exit code 1"),
        ),
    ],
)
def test_the_init_container_says_why_by_its_exit_code(change: dict[str, Any], trouble: Trouble) -> None:
    assert view(changed("not-contained", change), SEALS).trouble == trouble


def test_an_init_container_without_memory_is_not_a_failed_check() -> None:
    trouble = view(changed("not-contained", {"exitCode": 137, "reason": "OOMKilled"}), SEALS).trouble
    assert trouble is not None
    assert trouble.reason == "RunnerOutOfMemory"


def test_control_characters_of_a_node_are_taken_out() -> None:
    said = changed("not-contained", {"message": "a\x1b[2J\r\nb" + "x" * 5000})
    trouble = view(said, SEALS).trouble
    assert trouble is not None
    assert trouble.message.startswith("a [2J  b")
    assert len(trouble.message) == 512


def test_a_pod_that_the_kubelet_has_not_seen() -> None:
    pod = view({"metadata": {"name": "p", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, SEALS)
    assert (pod.phase, pod.ip, pod.trouble, pod.ended_at, pod.deleting) == ("Pending", None, None, None, True)


def test_a_pod_that_the_kubelet_refused() -> None:
    status = {"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough cpu"}
    trouble = view({"metadata": {"name": "p", "uid": "u"}, "status": status}, SEALS).trouble
    assert trouble == Trouble("PodRefused", "the node refuses the pod: Pod was rejected: Node didn't have enough cpu")


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("CreateContainerConfigError", "ContainerNotCreated"),
        ("CreateContainerError", "ContainerNotCreated"),
        ("RunContainerError", "ContainerNotCreated"),
        ("ImageInspectError", "ImageUnavailable"),
    ],
)
def test_why_a_container_does_not_start(waiting: str, reason: str) -> None:
    pod = load("image-unavailable")
    state = {"waiting": {"reason": waiting, "message": "no such key"}}
    pod["status"]["initContainerStatuses"][0]["state"] = state
    trouble = view(pod, SEALS).trouble
    assert trouble is not None
    assert (trouble.reason, "no such key" in trouble.message) == (reason, True)


def test_a_process_that_never_ran_did_not_exit() -> None:
    trouble = view(
        changed("not-contained", {"exitCode": 128, "reason": "StartError", "message": "exec"}), SEALS
    ).trouble
    assert trouble == Trouble("ContainerNotCreated", "the node cannot start the container: exec")


@pytest.mark.parametrize("name", ["running", "exited", "succeeded"])
def test_who_disrupts_a_pod_explains_its_end(name: str) -> None:
    pod = load(name)
    why = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
    pod["status"]["conditions"].append(why)
    trouble = view(pod, SEALS).trouble
    assert trouble == Trouble("RunnerEvicted", "the cluster ended the runner: EvictionByEvictionAPI: drained")
    why["status"] = "False"
    trouble = view(pod, SEALS).trouble
    assert trouble is None or trouble.reason == "RunnerExited"


def test_a_node_that_is_not_heard_of_leaves_its_mark() -> None:
    silent = seen("node-silent")
    assert (silent.node_silent, silent.running, silent.ended) == (True, True, False)
    assert not any(seen(name).node_silent for name in ("running", "exited", "image-unavailable", "container-lost"))


def test_what_the_kubelet_holds_a_pod_to() -> None:
    pod = load("running")
    assert view(pod, SEALS).deadline is None
    assert view({**pod, "spec": {"activeDeadlineSeconds": 60}}, SEALS).deadline == timedelta(seconds=60)


def test_a_view_is_made_once_for_each_state_and_not_for_ever() -> None:
    views, pod = Views(SEALS), load("exited")
    pod["metadata"]["resourceVersion"] = "1"
    first = views.of(pod)
    assert views.of(pod) is first
    changed = deepcopy(pod)
    changed["metadata"]["resourceVersion"] = "2"
    changed["status"]["podIP"] = "10.0.0.77"
    assert views.of(changed).ip == "10.0.0.77"


def test_a_membership_counts_once_the_key_to_it_is_known() -> None:
    keyring, pod = Keyring.generate(datetime.now(UTC)), load("exited")
    known: Jwks = {"keys": []}
    views, uid = Views(Seals(lambda: known)), pod["metadata"]["uid"]
    member = Membership(pod_uid=uid, pool_uid="pool-1", revision="r")
    pod["metadata"] |= {"resourceVersion": "1", "annotations": {MEMBERSHIP_ANNOTATION: member.sign(keyring)}}
    assert views.of(pod).membership is None
    known = keyring.jwks()
    assert views.of(pod).membership == member
