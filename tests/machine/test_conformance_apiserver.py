"""The simulated API server answers as a real one does: the same requests to both, their outcomes compared.

What is compared: the error, or the object without what the server alone decides; which versions are the same as
before; and what a watch tells. What is not: defaults of built-in kinds, deletion times, the words of messages; and
that a real server gives an object a new version when only its managedFields change. So merge patches of sessions always
change something, and what is applied is applied twice.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from agentsession.api.base import API_VERSION
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError, GoneError, from_status
from agentsession.kube.objects import KubeObject, is_terminating, key_of, uid_of
from agentsession.kube.resource import AGENTSESSIONS, CONFIGMAPS, NAMESPACES, PODS, Resource
from agentsession.resources.release import GATE
from tests.sessions.inprocess import serve_kinds

from .apiserver import ApiServer
from .way import Way

pytestmark = pytest.mark.apiserver

STEPS = 120
NAMES = ("a", "b")
SHOWN = ("prompt", "suspend", "limits", "nodeName", "schedulingGates", "activeDeadlineSeconds")
"""Fields of specs that are compared."""


class Side:
    """One of the two servers, and the objects that it has shown: by name, the latest first."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.shown: dict[tuple[str, str], list[KubeObject]] = {}

    def known(self, resource: Resource, name: str, age: int) -> tuple[str, str]:
        """uid and resourceVersion that an object had some changes ago."""
        shown = self.shown.get((resource.plural, name))
        if not shown:
            return "00000000-0000-0000-0000-000000000000", "1"
        old = shown[min(age, len(shown) - 1)]
        return uid_of(old), old["metadata"]["resourceVersion"]

    def show(self, resource: Resource, obj: KubeObject) -> dict[str, Any]:
        """What is to be the same on both sides."""
        shown = self.shown.setdefault((resource.plural, obj["metadata"]["name"]), [])
        same = [old["metadata"]["resourceVersion"] for old in shown].count(obj["metadata"]["resourceVersion"])
        reborn = bool(shown) and uid_of(shown[0]) != uid_of(obj)
        shown.insert(0, obj)
        spec = obj.get("spec", {})
        looks: dict[str, Any] = {"spec": {name: spec.get(name) for name in SHOWN}}
        if resource != PODS:
            looks["generation"] = obj["metadata"].get("generation") if resource == AGENTSESSIONS else None
        status = obj.get("status", {})
        return looks | {
            "labels": obj["metadata"].get("labels"),
            "data": obj.get("data"),
            "phase": status.get("phase"),
            "pod": status.get("podName"),
            "terminating": is_terminating(obj),
            "unchanged": same > 0,
            "reborn": reborn,
        }


def body(resource: Resource, namespace: str, name: str, value: str) -> KubeObject:
    """An object of that kind that differs by `value`."""
    metadata = {"namespace": namespace, "name": name, "labels": {"value": value}}
    made: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    if resource == CONFIGMAPS:
        return made | {"data": {"value": value}}
    if resource == PODS:
        spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}], "schedulerName": "none"}
        if value == "x":
            spec["nodeName"] = "nowhere"  # a pod on a node takes its time to go
        elif value == "y":
            spec["schedulingGates"] = [{"name": GATE}]
        return made | {"spec": spec}
    assert resource.api_version == API_VERSION
    return made | {"spec": {"prompt": value, "agent": {"model": "m"}}}


def request(pick: random.Random) -> tuple[str, Callable[[Side], Awaitable[Any]]]:
    """One of the requests that the control side makes."""
    resource, name = pick.choice([CONFIGMAPS, AGENTSESSIONS, AGENTSESSIONS, PODS]), pick.choice(NAMES)
    value, age, guards = pick.choice("xyz"), pick.randrange(3), pick.choice(["", "uid", "version", "both"])
    grace = pick.choice([0, None]) if resource == PODS else None
    new = str(pick.random())
    verbs = ["create", "create", "get", "delete", "list", "merge"]
    verbs += ["apply"] if resource == CONFIGMAPS else ["status", "status"]
    verb = pick.choice([*verbs, "claim", "claim"] if resource == PODS else verbs)

    async def run(side: Side) -> Any:
        api, key = side.api, (side.namespace, name)
        uid, version = side.known(resource, name, age)
        guard = {"uid": uid} if guards in ("uid", "both") else {}
        guard |= {"resource_version": version} if guards in ("version", "both") else {}
        metadata = {{"resource_version": "resourceVersion"}.get(key, key): value for key, value in guard.items()}
        match verb:
            case "create":
                return side.show(resource, await api.create(resource, body(resource, side.namespace, name, value)))
            case "get":
                return side.show(resource, await api.get(resource, key))
            case "list":
                found = await api.list(resource, namespace=side.namespace, label_selector=f"value={value}")
                return sorted(obj["metadata"]["name"] for obj in found.items)
            case "delete":
                gone = await api.delete(resource, key, **guard, grace_seconds=grace)
                return is_terminating(gone) if resource == PODS else None
            case "merge":
                patch: dict[str, Any] = {"metadata": {**metadata, "labels": {"value": value, "gone": None}}}
                if resource == AGENTSESSIONS:
                    patch["metadata"]["annotations"] = {"new": new}
                if resource == PODS and age:
                    patch["spec"] = {"schedulingGates": None if age == 1 else [{"name": GATE}]}
                return side.show(resource, await api.merge_patch(resource, key, patch))
            case "claim":
                claim: list[dict[str, object]] = [
                    {"op": "test", "path": "/metadata/uid", "value": uid},
                    {"op": "test", "path": "/metadata/labels/value", "value": value},
                    {"op": "add", "path": "/metadata/labels/a~1b", "value": new},
                    {"op": "replace" if age else "add", "path": "/spec/activeDeadlineSeconds", "value": 40 - 20 * age},
                ]
                return side.show(resource, await api.json_patch(resource, key, claim))
            case "apply":
                wanted = {**body(resource, side.namespace, name, value), "data": {"value": new}}
                return [side.show(resource, await api.apply(resource, wanted)) for _ in range(2)]
        status: dict[str, Any] = {"phase": "Running"} if resource == PODS else {"phase": "Starting", "podName": value}
        return side.show(
            resource,
            await api.apply_status(
                resource, key, status, uid=uid, resource_version=version if guards in ("version", "both") else ""
            ),
        )

    return f"{verb} {resource.plural}/{name} {value} guarded by {guards or 'nothing'}, {age} ago", run


async def outcome(side: Side, run: Callable[[Side], Awaitable[Any]]) -> object:
    """What came of it, in terms that both sides share."""
    try:
        return await run(side)
    except ApiError as error:
        return type(error).__name__, error.status, error.reason


async def told(side: Side, version: str, until: str) -> list[tuple[str, str]]:
    """What a watch of sessions with one label tells, up to a marker's end."""
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(20):
        async for event in side.api.watch(
            AGENTSESSIONS, namespace=side.namespace, label_selector="value=x", resource_version=version, seconds=10
        ):
            if event is None or event["type"] == "BOOKMARK":
                continue
            if event["type"] == "ERROR":
                raise from_status(event["object"])
            seen.append((event["type"], event["object"]["metadata"]["name"]))
            if event["object"]["metadata"]["name"] == until:
                break
    return seen


@pytest.fixture
async def sides(api: ApiClient, namespace: str) -> tuple[Side, Side]:
    await serve_kinds(api)
    way = Way(ApiServer(lambda: datetime.now(UTC), lambda *_: None))
    simulated = Side(way.client(), namespace)
    await simulated.api.create(NAMESPACES, {"metadata": {"name": namespace}})
    return Side(api, namespace), simulated


@pytest.mark.parametrize("seed", range(6))
async def test_the_same_requests_have_the_same_outcomes(sides: tuple[Side, Side], seed: int) -> None:
    pick = random.Random(seed)  # noqa: S311
    done: list[str] = []
    for _ in range(STEPS):
        said, run = request(pick)
        real, simulated = [await outcome(side, run) for side in sides]
        done.append(f"{said}: {real}")
        assert simulated == real, "\n".join(done)


async def test_a_watch_tells_the_same(sides: tuple[Side, Side]) -> None:
    pick, versions = random.Random(7), []  # noqa: S311
    for side in sides:
        made = await side.api.create(AGENTSESSIONS, body(AGENTSESSIONS, side.namespace, "first", "x"))
        versions.append(made["metadata"]["resourceVersion"])
    for _ in range(STEPS):
        _, run = request(pick)
        for side in sides:
            await outcome(side, run)
    for side in sides:
        last = await side.api.create(AGENTSESSIONS, body(AGENTSESSIONS, side.namespace, "last", "x"))
        assert key_of(last)[1] == "last"
    real, simulated = [await told(side, version, "last") for side, version in zip(sides, versions, strict=True)]
    assert len(real) > 4
    assert simulated == real


async def test_what_is_forgotten_must_be_listed_again() -> None:
    """A real server forgets after minutes; that a client then lists again, tests/kube/test_watch.py shows."""
    server = ApiServer(lambda: datetime.now(UTC), lambda *_: None)
    side = Side(Way(server).client(), "n")
    await side.api.create(NAMESPACES, {"metadata": {"name": "n"}})
    server.objects.compact()
    with pytest.raises(GoneError):
        await told(side, "1", "never")
