"""What an attacker does: run something in a pod, as a process there could, and make pods that look like others."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agentsession.api.session import AgentSession
from agentsession.kube.errors import ForbiddenError
from agentsession.kube.objects import KubeObject, key_of
from agentsession.kube.resource import PODS, Resource
from agentsession.resources.names import GRANT_ANNOTATION, RUNNER_CONTAINER, RUNNER_LABEL, runner_pod_name
from agentsession_runner.protocol import PORT
from devcluster.demo import scene
from devcluster.install import RELEASE

from .world import SECONDS, World

INSIDE = Path(__file__).with_name("inside")
MESSAGES = "/v1/messages"
IDENTITY = "/v1/identity"


@dataclass(frozen=True)
class Place:
    """A container to run things in."""

    world: World
    namespace: str
    pod: str
    container: str = RUNNER_CONTAINER

    async def shell(self, *command: str) -> str:
        """What a command printed; it must succeed."""
        done = await asyncio.to_thread(self.world.execute, self.namespace, self.pod, *command, container=self.container)
        assert done.code == 0, done.err
        return done.out

    async def script(self, name: str, argument: object) -> str:
        """What a script of inside/ printed."""
        return await self.shell("python3", "-c", source(name), json.dumps(argument))

    async def address(self) -> str:
        """The pod's."""
        pod = await self.world.api.get(PODS, (self.namespace, self.pod))
        return str(pod["status"]["podIP"])


def runner_of(world: World, session: AgentSession) -> Place:
    """The runner of a session, where the agent is."""
    name = runner_pod_name(session.metadata.name, session.metadata.uid)
    return Place(world, session.metadata.namespace, name)


def source(name: str) -> str:
    """The text of a script of inside/."""
    return (INSIDE / f"{name}.py").read_text()


class Targets(BaseModel):
    """What a probe tries: names, and host:port pairs by TCP and as name servers."""

    names: list[str] = []
    tcp: list[str] = []
    dns: list[str] = []


class Report(BaseModel):
    """What a probe found. `process` are fields of /proc/self/status; `tokens` maps a JWT's path to its audience."""

    process: dict[str, str]
    writable: list[str]
    tokens: dict[str, str | list[str]]
    resolved: list[str]
    connected: list[str]
    answered: list[str]

    def reached(self) -> set[str]:
        """Everything of the targets that answered."""
        return {*self.resolved, *self.connected, *self.answered}


async def probe(place: Place, targets: Targets) -> Report:
    """See inside/probe.py."""
    return Report.model_validate_json(await place.script("probe", targets.model_dump()))


async def search(place: Place, *texts: str) -> dict[str, list[str]]:
    """Where the texts stand in the pod; see inside/search.py."""
    found: dict[str, list[str]] = json.loads(await place.script("search", [text[::-1] for text in texts]))
    return found


class Answer(BaseModel):
    """The egress plane's: `why` is empty if it did as it was asked."""

    status: int
    why: str


async def ask(
    place: Place,
    token: str | None = None,
    *,
    path: str = MESSAGES,
    headers: Mapping[str, str] | None = None,
    fields: Mapping[str, object] | None = None,
) -> Answer:
    """A small model request with those fields too, or one for an identity; a token of None is the place's own."""
    message = {"role": "user", "content": "[[say: yes]]"}
    body = {"model": scene.MODEL, "max_tokens": 16, "messages": [message]} if path == MESSAGES else {"slot": 0}
    argument = {"path": path, "body": body | dict(fields or {}), "token": token, "headers": dict(headers or {})}
    return Answer.model_validate_json(await place.script("ask", argument))


async def own_identity(place: Place) -> str:
    """The identity token that the agent in a runner can read."""
    return await place.shell("cat", "/tmp/identity/token")  # noqa: S108


async def start_pod(world: World, manifest: KubeObject) -> Place:
    """Create a pod and wait until it runs."""
    made = await world.api.create(PODS, manifest)
    key = (made["metadata"]["namespace"], made["metadata"]["name"])
    async with asyncio.timeout(SECONDS):
        while (made := await world.api.get(PODS, key)).get("status", {}).get("phase") != "Running":
            assert made["status"].get("phase") != "Failed", made["status"]
            await asyncio.sleep(0.1)
    return Place(world, *key)


def unrestricted(world: World, namespace: str, name: str, command: Sequence[str]) -> dict[str, Any]:
    """A pod of the runner's image with everything that a runner has not."""
    container = {"name": RUNNER_CONTAINER, "image": world.installed.images["runner"], "command": list(command)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "Unconfined"}},
            "containers": [container],
        },
    }


async def neighbourhood(world: World) -> tuple[Place, Place]:
    """A namespace with two unrestricted pods; both listen on the runners' port, and nothing protects them."""
    outside = await world.team(grant=False, secret=False, tenant=False, pod_security="privileged")
    listen = ("python3", "-m", "http.server", str(PORT))
    manifests = (unrestricted(world, outside.namespace, name, listen) for name in ("bystander", "neighbour"))
    bystander, neighbour = await asyncio.gather(*(start_pod(world, manifest) for manifest in manifests))
    return bystander, neighbour


BINDINGS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    namespaced=False,
)
RUNNERS_ARE_THE_OPERATORS = (("", f"{RELEASE}-runners"), ("", f"{RELEASE}-runner-shape"))


@asynccontextmanager
async def impostors_admitted(world: World) -> AsyncIterator[None]:
    """While the block runs, no policy keeps others than the operator from making runner pods and changing them."""
    bindings = [await world.api.get(BINDINGS, key) for key in RUNNERS_ARE_THE_OPERATORS]
    for key in RUNNERS_ARE_THE_OPERATORS:
        await world.api.delete(BINDINGS, key)
    place = await world.team(grant=False, secret=False, tenant=False, pod_security="privileged")
    try:
        await _until(world, place.namespace, admitted=True)
        yield
    finally:
        for binding in bindings:
            metadata = {key: binding["metadata"][key] for key in ("name", "labels", "annotations")}
            await world.api.create(BINDINGS, {**binding, "metadata": metadata})
        await _until(world, place.namespace, admitted=False)


async def _until(world: World, namespace: str, *, admitted: bool) -> None:
    """Policies come into force, and out of it, after a second."""
    pod = unrestricted(world, namespace, "impostor", ["true"])
    pod["metadata"]["labels"] = {RUNNER_LABEL: "true"}
    async with asyncio.timeout(SECONDS):
        while await _is_admitted(world, pod) != admitted:
            await asyncio.sleep(0.1)


async def _is_admitted(world: World, pod: KubeObject) -> bool:
    try:
        await world.api.create(PODS, pod)
    except ForbiddenError:
        return False
    await world.api.delete(PODS, key_of(pod), grace_seconds=0)
    return True


def impostor(runner: KubeObject, name: str, grant: str | None = None) -> KubeObject:
    """A pod like that runner's, with its init container; but its own container sleeps and has the token's volume."""
    spec: dict[str, Any] = copy.deepcopy(runner["spec"])
    del spec["nodeName"]
    (contain,), (container,) = spec["initContainers"], spec["containers"]
    del container["args"]
    container |= {"command": ["sleep", "infinity"], "volumeMounts": contain["volumeMounts"]}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": runner["metadata"]["namespace"],
        "labels": {RUNNER_LABEL: "true"},
    }
    if grant is not None:
        metadata["annotations"] = {GRANT_ANNOTATION: grant}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**spec, "terminationGracePeriodSeconds": 0},
    }
