"""Runner pods are the operator's: whoever else may write pods makes none and changes none, but may delete them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError
from agentsession.kube.objects import KubeObject, uid_of
from agentsession.kube.resource import PODS, Resource
from agentsession.resources.names import GRANT_ANNOTATION, RUNNER_LABEL, SESSION_LABEL
from agentsession.resources.release import release_patch
from tests.sessions.inprocess import SECONDS

from .cluster import GUARDED, OPEN, Callers
from .objects import LABELLED, name, plain_pod, runner

pytestmark = pytest.mark.apiserver

REPLICA_SETS = Resource("apps", "v1", "ReplicaSet", "replicasets")
Attack = Callable[[Callers, ApiClient, str], Awaitable[object]]


async def granted(callers: Callers, namespace: str) -> tuple[str, str]:
    """A runner that has its session; its key."""
    pod = await callers.operator.create(PODS, await runner(callers, namespace))
    key = (namespace, str(pod["metadata"]["name"]))
    await callers.operator.merge_patch(PODS, key, release_patch(uid_of(pod), GRANT_ANNOTATION, "signed"))
    return key


def make(**metadata: Any) -> Attack:
    """Create a pod."""
    return lambda _, api, namespace: api.create(PODS, plain_pod(namespace, **metadata))


def patch(**metadata: Any) -> Attack:
    """Patch the metadata of a runner."""

    async def attack(callers: Callers, api: ApiClient, namespace: str) -> None:
        await api.merge_patch(PODS, await granted(callers, namespace), {"metadata": metadata})

    return attack


async def dress_up(callers: Callers, api: ApiClient, namespace: str) -> None:
    """An own pod becomes a runner."""
    pod = await api.create(PODS, plain_pod(namespace))
    await api.merge_patch(PODS, (namespace, pod["metadata"]["name"]), {"metadata": LABELLED})


def patch_spec(path: str, value: object) -> Attack:
    """Change what may be changed of a pod's spec."""

    async def attack(callers: Callers, api: ApiClient, namespace: str) -> None:
        key = await granted(callers, namespace)
        await api.json_patch(PODS, key, [{"op": "replace", "path": path, "value": value}])

    return attack


async def let_go(callers: Callers, api: ApiClient, namespace: str) -> None:
    """A runner may go to a node before the operator has signed it."""
    pod = await callers.operator.create(PODS, await runner(callers, namespace))
    gate = {"op": "remove", "path": "/spec/schedulingGates"}
    await api.json_patch(PODS, (namespace, pod["metadata"]["name"]), [gate])


BY_EDITORS: dict[str, tuple[Attack, str]] = {
    "a pod like a runner": (make(**LABELLED), "only the operator creates pods"),
    "a pod nearly like a runner": (make(labels={RUNNER_LABEL: "false"}), "only the operator creates pods"),
    "a pod dressed up": (dress_up, "cannot be added"),
    "a runner undressed": (patch(labels={RUNNER_LABEL: None}), "or removed"),
    "a runner of another value": (patch(labels={RUNNER_LABEL: "false"}), "changed"),
    "another session": (patch(labels={SESSION_LABEL: "another"}), "changed"),
    "a label more": (patch(labels={"agentsession.io/more": ""}), "cannot be added"),
    "another grant": (patch(annotations={GRANT_ANNOTATION: "another"}), "agentsession.io/grant is the operator's"),
    "no grant": (patch(annotations={GRANT_ANNOTATION: None}), "agentsession.io/grant is the operator's"),
    "another image": (patch_spec("/spec/containers/0/image", "strange:1"), "its images included"),
    "another image of the list": (patch_spec("/spec/initContainers/0/image", "runner:2"), "its images included"),
    "let go": (let_go, "spec of a runner pod cannot be changed"),
    "an early end": (patch_spec("/spec/activeDeadlineSeconds", 1), "spec of a runner pod cannot be changed"),
}


@pytest.mark.parametrize("attack", BY_EDITORS)
async def test_who_edits_the_namespace_cannot_touch_what_makes_a_runner(callers: Callers, attack: str) -> None:
    attempt, says = BY_EDITORS[attack]
    await attempt(callers, await callers.user(OPEN), OPEN)
    with pytest.raises(ForbiddenError, match=f"agentsession-(runners|runner-shape)'.*{says}"):
        await attempt(callers, await callers.user(GUARDED), GUARDED)


async def ephemeral(callers: Callers, api: ApiClient, namespace: str) -> None:
    """What kubectl debug does."""
    containers = [{"name": "debug", "image": "strange:1", "targetContainerName": "runner"}]
    body = {"spec": {"ephemeralContainers": containers}}
    await patch_subresource(api, await granted(callers, namespace), "ephemeralcontainers", body)


async def through_status(callers: Callers, api: ApiClient, namespace: str) -> None:
    """The subresource lets metadata through."""
    body = {"metadata": {"labels": {RUNNER_LABEL: None}}}
    answer = await patch_subresource(api, await granted(callers, namespace), "status", body)
    assert RUNNER_LABEL not in answer["metadata"]["labels"]


async def patch_subresource(api: ApiClient, key: tuple[str, str], name: str, body: object) -> KubeObject:
    """A patch that the operator's client has no use for."""
    return await api._request("merge_patch", PODS, PODS.path(key, name), body=body)


BY_ADMINISTRATORS = {
    **BY_EDITORS,
    "a debugger": (ephemeral, "no ephemeral containers"),
    "undressed through status": (through_status, "or removed"),
}


@pytest.mark.parametrize("attack", BY_ADMINISTRATORS)
async def test_nor_can_who_may_do_everything(callers: Callers, attack: str) -> None:
    attempt, says = BY_ADMINISTRATORS[attack]
    await attempt(callers, callers.admin, OPEN)
    with pytest.raises(ForbiddenError, match=f"agentsession-(runners|runner-shape)'.*{says}"):
        await attempt(callers, callers.admin, GUARDED)


async def test_a_controller_makes_no_runner_either(callers: Callers) -> None:
    """Who may not create a pod may still create what creates pods."""
    for namespace in (OPEN, GUARDED):
        made = await (await callers.user(namespace)).create(REPLICA_SETS, _replica_set(namespace))
        selector = f"app={made['metadata']['name']}"
        async with asyncio.timeout(SECONDS):
            while not (outcome := await _pods_or_why(callers.admin, namespace, selector)):
                await asyncio.sleep(0.1)
        assert ("only the operator creates pods" in outcome) == (namespace == GUARDED), outcome


def _replica_set(namespace: str) -> KubeObject:
    pod, app = plain_pod(namespace), name("rs")
    labels = {"app": app, **LABELLED["labels"]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod["spec"]}}
    metadata = {"name": app, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}


async def _pods_or_why(api: ApiClient, namespace: str, selector: str) -> str:
    """What became of a ReplicaSet; empty as long as nothing has."""
    if (await api.list(PODS, namespace=namespace, label_selector=selector)).items:
        return "pods"
    found = await api.get(REPLICA_SETS, (namespace, selector.removeprefix("app=")))
    return "".join(item["message"] for item in found.get("status", {}).get("conditions", []))


async def test_what_is_nobodys_business_stays_open(callers: Callers) -> None:
    """Labels and annotations of others' own, the kubelet's status, and deletion."""
    editor = await callers.user(GUARDED)
    key = await granted(callers, GUARDED)
    await editor.merge_patch(PODS, key, {"metadata": {"labels": {"team": "x"}, "annotations": {"note": "x"}}})
    uid = (await callers.admin.get(PODS, key))["metadata"]["uid"]
    await callers.admin.apply_status(PODS, key, {"phase": "Running"}, uid=uid)
    await editor.delete(PODS, key)
