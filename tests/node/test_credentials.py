"""The model key stands in its Secret and nowhere else that a tenant can look.

Everywhere a decoy is planted too, which the same search finds.
"""

import asyncio
import base64
import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from agentsession.kube.resource import CONFIGMAPS, PODS
from devcluster.demo import scene
from devcluster.install import NAMESPACE as SYSTEM
from devcluster.kubectl import kubectl

from .attacker import Place, runner_of, search
from .world import SECONDS, Installed, Team, World, entered

pytestmark = pytest.mark.node

PLANT = """
echo $0 > /workspace/work/file; ln -s $0 /config/claude/link; mkdir /tmp/home/$0
echo $0 > /proc/1/fd/1
LEAK=$0 setsid sleep 300 > /dev/null 2>&1 &
"""
"""A shell script whose $0 is the text to plant."""
PLACES = {"/workspace/work/file", "/config/claude/link", "/tmp/home/{text}"}  # noqa: S108


@dataclass(frozen=True)
class Found:
    """Where key and decoy were found."""

    key: str
    decoy: str
    namespace: str
    session_uid: str
    in_runner: dict[str, list[str]]
    """Places in the runner, by text."""
    logs: str
    """Of all containers of the runner pod."""
    ended: str
    """The runner pod as the API server had it, from the end of its containers on."""
    objects: list[dict[str, Any]]
    """Every object of the namespace of any kind."""
    of_operator: str
    of_egress: str
    """The logs of the control and the egress plane."""


@pytest.fixture(scope="module")
def found(installed: Installed) -> Found:
    """A session that has used the key is searched while it runs, and its traces when it has ended."""

    async def look() -> Found:
        async with entered(installed) as world:
            return await _look(world, await world.team())

    return asyncio.run(look())


async def _look(world: World, team: Team) -> Found:
    await team.start("a", '[[tool: Bash {"command": "true"}]] [[say: here]]', lifecycle="LongRunning")
    session = await team.idle("a")
    here = runner_of(world, session)
    decoy = f"decoy-{uuid.uuid4().hex}"
    await here.shell("sh", "-c", PLANT, decoy)
    await _plant_object(team, decoy)
    in_runner = await search(here, team.key, decoy)
    logs = kubectl(world.installed.kubeconfig, "logs", "-n", team.namespace, here.pod, "--all-containers")
    ended = await _end(here)
    await team.finished("a")
    return Found(
        key=team.key,
        decoy=decoy,
        namespace=team.namespace,
        session_uid=session.metadata.uid,
        in_runner=in_runner,
        logs=logs,
        ended=ended,
        objects=_all_objects(world, team.namespace),
        of_operator=_system_logs(world, "operator"),
        of_egress=_system_logs(world, "egress"),
    )


async def _plant_object(team: Team, text: str) -> None:
    metadata = {"name": "planted", "namespace": team.namespace}
    data = {"plain": text, "encoded": base64.b64encode(text.encode()).decode()}
    await team.world.api.create(
        CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )


async def _end(place: Place) -> str:
    """End the runner from inside, as the agent can; what the pod's object says from then on."""
    listed = await place.world.api.list(PODS, namespace=place.namespace)
    await place.shell("sh", "-c", "kill $(cat /proc/1/task/1/children)")
    events = place.world.api.watch(
        PODS, namespace=place.namespace, resource_version=listed.resource_version, seconds=int(SECONDS)
    )
    states = []
    async for event in events:
        if event is not None:
            states.append(json.dumps(event["object"]))
        if event is not None and event["type"] == "DELETED":
            break
    return "\n".join(states)


def _all_objects(world: World, namespace: str) -> list[dict[str, Any]]:
    kubeconfig = world.installed.kubeconfig
    kinds = kubectl(kubeconfig, "api-resources", "--namespaced", "--verbs", "list", "--output", "name").split()
    every = ("get", ",".join(kinds), "--namespace", namespace, "--output", "json", "--show-managed-fields")
    items: list[dict[str, Any]] = json.loads(kubectl(kubeconfig, *every))["items"]
    return items


def _system_logs(world: World, component: str) -> str:
    selector = f"app.kubernetes.io/component={component}"
    return kubectl(world.installed.kubeconfig, "logs", "-n", SYSTEM, "-l", selector, "--tail", "-1")


def _holders(objects: list[dict[str, Any]], text: str) -> set[str]:
    """The objects that have the text in them, plain or in base64."""
    forms = (text, base64.b64encode(text.encode()).decode())
    return {
        f"{item['kind']}/{item['metadata']['name']}"
        for item in objects
        if any(form in json.dumps(item) for form in forms)
    }


def test_the_key_is_not_in_the_runner(found: Found) -> None:
    planted = set(found.in_runner[found.decoy])
    assert planted >= {place.format(text=found.decoy) for place in PLACES}
    assert any(place.startswith("/proc/") and place.endswith("/environ") for place in planted)
    assert found.in_runner[found.key] == []


def test_the_key_is_not_in_the_logs_of_the_runner(found: Found) -> None:
    assert found.decoy in found.logs
    assert "contained; identity valid until" in found.logs, "the init container's log is missing"
    assert found.key not in found.logs


def test_the_key_is_not_in_last_words(found: Found) -> None:
    assert '"terminated"' in found.ended
    assert found.key not in found.ended


def test_the_key_is_in_no_object_but_its_secret(found: Found) -> None:
    kinds = {item["kind"] for item in found.objects}
    assert kinds >= {"AgentSession", "AgentTenant", "ConfigMap", "Event", "NetworkPolicy", "Secret", "ServiceAccount"}
    assert _holders(found.objects, found.decoy) == {"ConfigMap/planted"}
    assert _holders(found.objects, found.key) == {f"Secret/{scene.SECRET}"}


@pytest.mark.parametrize("plane", ["operator", "egress"])
def test_the_key_is_not_in_the_logs_of_the_system(found: Found, plane: str) -> None:
    log: str = getattr(found, f"of_{plane}")
    assert found.namespace in log
    assert found.key not in log


@pytest.mark.parametrize("log", ["logs", "of_operator", "of_egress"])
def test_one_id_finds_the_session_in_the_logs_of_all_three(found: Found, log: str) -> None:
    lines = [json.loads(line) for line in getattr(found, log).splitlines() if line.startswith("{")]
    assert any(line.get("session") == found.session_uid for line in lines)
