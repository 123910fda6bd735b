"""What tests on the node say and see: teams, sessions, pods, and what the scripted model was sent."""

import asyncio
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from agentsession.api.base import condition
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, NAMESPACES, PODS, SECRETS, SERVICES
from agentsession.resources.names import RUNNER_CONTAINER, runner_pod_name
from devcluster import binaries
from devcluster.demo import scene
from devcluster.install import NAMESPACE as SYSTEM
from devcluster.kubectl import kubectl
from tests.kube.kinds import ROLE_BINDINGS, ROLES

T = TypeVar("T")
VOUCHED = "vouched"
"""Name of the NetworkPolicy that the installer lists."""
POOLS = "shared-pools"
"""The namespace that the installer lists for shared pools."""
SECONDS = 60.0
"""Patience of every wait; what takes longer is a failure."""
ANSWER = aiohttp.ClientTimeout(total=5)
"""A connection to a pod that has died with its node gets no answer, and no end either."""


@dataclass(frozen=True)
class Installed:
    """Where the installation is, and the references of its images by name."""

    kubeconfig: Path
    images: Mapping[str, str]


@dataclass(frozen=True)
class Model:
    """The scripted model's records."""

    http: aiohttp.ClientSession
    url: str

    async def requests(self, key: str | None = None) -> list[dict[str, Any]]:
        """What it was sent, with that API key if one is named."""
        async with self.http.get(f"{self.url}/_requests", timeout=ANSWER) as response:
            sent: list[dict[str, Any]] = json.loads(await response.read())
        return [item for item in sent if key is None or item["key"] == key]


@dataclass(frozen=True)
class Finished:
    """What a command in a container printed, and how it ended."""

    code: int
    out: str
    err: str


@dataclass
class World:
    """The installation, and what the test made in it."""

    installed: Installed
    api: ApiClient
    model: Model
    teams: list["Team"] = field(default_factory=list)

    async def team(
        self,
        *,
        grant: bool = True,
        secret: bool = True,
        tenant: bool = True,
        pod_security: str = "restricted",
        **spec: Any,
    ) -> "Team":
        """A new namespace, with a Secret of its own key, its grant and a tenant; each can be left out."""
        namespace = f"t-{uuid.uuid4().hex[:10]}"
        made = Team(self, namespace, key=f"sk-test-{uuid.uuid4().hex}")
        self.teams.append(made)
        labels = {**scene.ALLOWED, "pod-security.kubernetes.io/enforce": pod_security}
        await self.api.create(NAMESPACES, _object("v1", "Namespace", {"name": namespace, "labels": labels}))
        if secret:
            await made.give_secret()
        if grant:
            await made.give_grant()
        if tenant:
            await made.give_tenant(**spec)
        return made

    def execute(self, namespace: str, pod: str, *command: str, container: str = RUNNER_CONTAINER) -> Finished:
        """Run a command in a container, as its own user: exactly what a process in it could do."""
        program = binaries.resolve(["kubectl"])["kubectl"]
        line = [str(program), "--kubeconfig", str(self.installed.kubeconfig), "exec", "-n", namespace, pod]
        done = subprocess.run([*line, "-c", container, "--", *command], capture_output=True, text=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Team:
    """A tenant's namespace. `key` is the API key in its Secret: no other team's is equal."""

    world: World
    namespace: str
    key: str

    async def give_secret(self) -> None:
        """The key, for the scripted model's host."""
        annotations = {scene.HOSTS: scene.SCRIPTED_HOST}
        metadata = {"name": scene.SECRET, "namespace": self.namespace, "annotations": annotations}
        await self.world.api.create(SECRETS, {**_object("v1", "Secret", metadata), "stringData": {"api-key": self.key}})

    async def give_grant(self) -> None:
        """Let the egress plane read the Secret."""
        metadata = {"name": "egress", "namespace": self.namespace}
        group = "rbac.authorization.k8s.io"
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [scene.SECRET], "verbs": ["get"]}
        await self.world.api.create(ROLES, {**_object(f"{group}/v1", "Role", metadata), "rules": [rule]})
        subject = {"kind": "ServiceAccount", "name": "agentsession-egress", "namespace": SYSTEM}
        role = {"apiGroup": group, "kind": "Role", "name": "egress"}
        binding = {**_object(f"{group}/v1", "RoleBinding", metadata), "roleRef": role, "subjects": [subject]}
        await self.world.api.create(ROLE_BINDINGS, binding)

    async def give_tenant(
        self, *, name: str = "default", models: tuple[str, ...] = (scene.MODEL,), **spec: Any
    ) -> None:
        """An AgentTenant that uses the Secret."""
        provider = {
            "baseURL": scene.SCRIPTED_API,
            "models": list(models),
            "credentialSecretRef": {"name": scene.SECRET, "key": "api-key"},
        }
        body = _object("agentsession.io/v1alpha1", "AgentTenant", {"name": name, "namespace": self.namespace})
        await self.world.api.create(AGENTTENANTS, {**body, "spec": {"provider": provider, **spec}})

    async def start(self, name: str, prompt: str | None, **spec: Any) -> AgentSession:
        """Create a session; `spec` in the wire form, `agent` merged over the model and all rights in its box; None
        leaves it to the session's pool."""
        own = spec.pop("agent", {})
        agent = {"model": scene.MODEL, "allowedTools": ["Bash", "Read", "Write"], **own} if own is not None else None
        body = _object("agentsession.io/v1alpha1", "AgentSession", {"name": name, "namespace": self.namespace})
        made = await self.world.api.create(
            AGENTSESSIONS, {**body, "spec": _set({"prompt": prompt, "agent": agent, **spec})}
        )
        return AgentSession.model_validate(made)

    async def session(self, name: str) -> AgentSession:
        """The session as it is now."""
        return AgentSession.model_validate(await self.world.api.get(AGENTSESSIONS, (self.namespace, name)))

    async def until(self, name: str, holds: Callable[[AgentSession], bool], seconds: float = SECONDS) -> AgentSession:
        """Wait for something to hold of a session; else fail with what it says."""
        try:
            async with asyncio.timeout(seconds):
                while not holds(now := await self.session(name)):
                    await asyncio.sleep(0.1)
                return now
        except TimeoutError:
            now = await self.session(name)
            raise AssertionError(f"{self.namespace}/{name} after {seconds} s: {now.status!r}") from None

    async def finished(self, name: str, seconds: float = SECONDS) -> AgentSession:
        """Wait for its end."""
        return await self.until(name, lambda now: now.status.phase in ("Succeeded", "Failed"), seconds)

    async def idle(self, name: str, turns: int = 1) -> AgentSession:
        """Wait until a conversation has so many answers and waits."""
        return await self.until(name, lambda now: now.status.phase == "Idle" and now.status.turns_completed >= turns)

    async def tenant(self, name: str = "default") -> AgentTenant:
        """The tenant as it is now."""
        return AgentTenant.model_validate(await self.world.api.get(AGENTTENANTS, (self.namespace, name)))

    async def tenant_says(self, reason: str, name: str = "default") -> None:
        """Wait for a reason of the tenant's Ready."""
        async with asyncio.timeout(SECONDS):
            while not any(
                c.type == "Ready" and c.reason == reason for c in (await self.tenant(name)).status.conditions
            ):
                await asyncio.sleep(0.1)

    async def pod(self, session: AgentSession) -> KubeObject | None:
        """The session's pod, if there is one."""
        name = runner_pod_name(session.metadata.name, session.metadata.uid)
        try:
            return await self.world.api.get(PODS, (self.namespace, name))
        except NotFoundError:
            return None

    async def no_pod(self, session: AgentSession) -> None:
        """Wait until the session's pod is gone."""
        async with asyncio.timeout(SECONDS):
            while await self.pod(session) is not None:
                await asyncio.sleep(0.1)

    async def exists(self, name: str) -> bool:
        """Whether there is a session of that name."""
        try:
            await self.session(name)
        except NotFoundError:
            return False
        return True

    def evict(self, pod: str) -> None:
        """What draining its node does to a pod."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": self.namespace}}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        kubectl(self.world.installed.kubeconfig, "create", "--raw", path, "-f", "-", stdin=json.dumps(body))

    async def model_sent(self, requests: int) -> None:
        """Wait until the model was asked so often."""
        async with asyncio.timeout(SECONDS):
            while len(await self.world.model.requests(self.key)) < requests:
                await asyncio.sleep(0.1)

    def execute(self, session: AgentSession, *command: str) -> Finished:
        """Run a command in the session's runner, as the agent would."""
        pod = runner_pod_name(session.metadata.name, session.metadata.uid)
        return self.world.execute(self.namespace, pod, *command)


@asynccontextmanager
async def entered(installed: Installed) -> AsyncIterator[World]:
    """The installation, an administrator's client, and a factory of teams, which are deleted in the end."""
    connection = Connection.from_kubeconfig(str(installed.kubeconfig))
    async with connection.open() as session, aiohttp.ClientSession() as http:
        api = ApiClient(connection.server, session)
        service = await api.get(SERVICES, ("scripted-model", "scripted-model"))
        world = World(installed, api, Model(http, f"http://{service['spec']['clusterIP']}:8000"))
        try:
            yield world
        finally:
            for team in world.teams:
                await api.delete(NAMESPACES, ("", team.namespace))


async def side_by_side(named: Mapping[str, Awaitable[T]]) -> dict[str, T | BaseException]:
    """What came of each; one that fails lets the others go on."""
    found = await asyncio.gather(*named.values(), return_exceptions=True)
    return dict(zip(named, found, strict=True))


def raised(found: T | BaseException) -> T:
    """What came of one, in the test that is about it."""
    if isinstance(found, BaseException):
        raise found
    return found


def reason(session: AgentSession, type_: str = "Ready") -> str | None:
    """The reason of a condition."""
    found = condition(session.status.conditions, type_)
    return found.reason if found is not None else None


def _set(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _object(api_version: str, kind: str, metadata: Mapping[str, object]) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": dict(metadata)}
