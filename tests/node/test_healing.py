"""What is wrong is said in words that help, once, and putting it right heals it without a restart.

All cases run side by side, each with a namespace of its own; the tests look at what was seen of each.
"""

import asyncio
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentsession.api.base import Condition
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import AGENTTENANTS, CONFIGMAPS, EVENTS, SECRETS
from devcluster import binaries
from devcluster.demo import scene

from .world import Installed, Team, World, entered, raised, reason, side_by_side

pytestmark = pytest.mark.node

SECRET_TEXT = "a-word-that-only-the-prompt-has"
PROMPT = f"[[say: healed]] {SECRET_TEXT}"


@dataclass(frozen=True)
class Case:
    """Something that is missing or wrong: how to make it so, what is said of it, how to put it right."""

    reason: str
    says: tuple[str, ...]
    heal: Callable[[Team, AgentSession], Awaitable[object]]
    prepare: Callable[[Team], Awaitable[object]] | None = None
    team: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    tenant: str | None = None
    """Reason of the tenant's Ready, where the fault is the tenant's."""
    tenant_stalled: bool = False


async def _secret(team: Team, hosts: str | None, key: str = "api-key") -> None:
    annotations = {} if hosts is None else {scene.HOSTS: hosts}
    metadata = {"name": scene.SECRET, "namespace": team.namespace, "annotations": annotations}
    data = {key: b64encode(team.key.encode()).decode()}
    await team.world.api.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def _patch_secret(**patch: Any) -> Callable[[Team, AgentSession], Awaitable[object]]:
    return lambda team, _: team.world.api.merge_patch(SECRETS, (team.namespace, scene.SECRET), patch)


def _patch_provider(**provider: Any) -> Callable[..., Awaitable[object]]:
    patch = {"spec": {"provider": provider}}
    return lambda team, *_: team.world.api.merge_patch(AGENTTENANTS, (team.namespace, "default"), patch)


async def _config_map(team: Team, data: dict[str, str]) -> None:
    metadata = {"name": "prompts", "namespace": team.namespace}
    await team.world.api.apply(
        CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )


async def _run_its_commands(team: Team, session: AgentSession) -> None:
    """Do what the message says, to the letter."""
    commands = said(session).message.split("To let it: ")[1]
    folder = team.world.installed.kubeconfig.parent / f"bin-{team.namespace}"
    folder.mkdir()
    (folder / "kubectl").symlink_to(binaries.resolve(["kubectl"])["kubectl"])
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "KUBECONFIG": str(team.world.installed.kubeconfig),
        "KUBECACHEDIR": str(folder / "cache"),
    }
    try:
        await asyncio.to_thread(subprocess.run, ["bash", "-ec", commands], env=environment, check=True)
    finally:
        shutil.rmtree(folder)


HEALTHY_HOST = {scene.HOSTS: scene.SCRIPTED_HOST}
FROM = {"prompt": None, "promptFrom": {"configMapKeyRef": {"name": "prompts", "key": "first"}}}
CASES = {
    "no tenant": Case(
        "TenantNotFound",
        ("spec.tenantRef", "AgentTenant default", "create it"),
        lambda team, _: team.give_tenant(),
        team={"tenant": False},
    ),
    "no Secret": Case(
        "TenantNotReady",
        ("SecretNotFound", f"/{scene.SECRET} does not exist", "create it", "api-key"),
        lambda team, _: team.give_secret(),
        team={"secret": False},
        tenant="SecretNotFound",
    ),
    "no key in the Secret": Case(
        "TenantNotReady",
        ("KeyMissing", f"/{scene.SECRET}", "'api-key'"),
        lambda team, session: _patch_secret(data={"api-key": b64encode(team.key.encode()).decode()})(team, session),
        prepare=lambda team: _secret(team, scene.SCRIPTED_HOST, key="other"),
        team={"secret": False},
        tenant="KeyMissing",
    ),
    "no hosts on the Secret": Case(
        "TenantNotReady",
        ("HostNotAllowed", scene.HOSTS, scene.SCRIPTED_HOST),
        _patch_secret(metadata={"annotations": HEALTHY_HOST}),
        prepare=lambda team: _secret(team, None),
        team={"secret": False},
        tenant="HostNotAllowed",
    ),
    "wrong host on the Secret": Case(
        "TenantNotReady",
        ("HostNotAllowed", scene.HOSTS, scene.SCRIPTED_HOST),
        _patch_secret(metadata={"annotations": HEALTHY_HOST}),
        prepare=lambda team: _secret(team, "api.anthropic.com"),
        team={"secret": False},
        tenant="HostNotAllowed",
    ),
    "no grant": Case(
        "TenantNotReady",
        ("GrantMissing", "kubectl", "create rolebinding"),
        _run_its_commands,
        team={"grant": False},
        tenant="GrantMissing",
    ),
    "model not granted": Case(
        "ModelNotAllowed",
        ("spec.agent.model", scene.MODEL, "AgentTenant default", "another-model"),
        _patch_provider(models=[scene.MODEL]),
        team={"models": ("another-model",)},
    ),
    "baseURL not among the upstreams": Case(
        "TenantNotReady",
        ("spec.provider.baseURL", "http://elsewhere.example", scene.SCRIPTED_API),
        _patch_provider(baseURL=scene.SCRIPTED_API),
        prepare=_patch_provider(baseURL="http://elsewhere.example"),
        tenant="UpstreamNotAllowed",
        tenant_stalled=True,
    ),
    "no ConfigMap": Case(
        "PromptNotFound",
        ("spec.promptFrom", "ConfigMap prompts", "create it"),
        lambda team, _: _config_map(team, {"first": PROMPT}),
        spec=FROM,
    ),
    "no key in the ConfigMap": Case(
        "PromptNotFound",
        ("spec.promptFrom", "ConfigMap prompts", "key first", "add it"),
        lambda team, _: _config_map(team, {"first": PROMPT}),
        prepare=lambda team: _config_map(team, {"second": PROMPT}),
        spec=FROM,
    ),
}


def said(session: AgentSession, type_: str = "Ready") -> Condition:
    """A condition that must be there."""
    return next(item for item in session.status.conditions if item.type == type_)


@dataclass(frozen=True)
class Seen:
    """What there was to see, broken and healed."""

    broken: AgentSession
    tenant: AgentTenant | None
    healed: AgentSession
    events: list[KubeObject]


async def _see(world: World, case: Case) -> Seen:
    team = await world.team(**case.team)
    if case.prepare is not None:
        await case.prepare(team)
    if case.tenant is not None:
        await team.tenant_says(case.tenant)
    await team.start("s", **{"prompt": PROMPT, **case.spec})
    broken = await team.until(
        "s", lambda now: reason(now) == case.reason and all(part in said(now).message for part in case.says)
    )
    tenant = await team.tenant() if case.tenant is not None else None
    await case.heal(team, broken)
    healed = await team.finished("s")
    events = (await world.api.list(EVENTS, namespace=team.namespace)).items
    return Seen(broken, tenant, healed, [event for event in events if event["regarding"]["kind"] == "AgentSession"])


@pytest.fixture(scope="module")
def seen(installed: Installed) -> dict[str, Seen | BaseException]:
    """All cases, run side by side."""

    async def run() -> dict[str, Seen | BaseException]:
        async with entered(installed) as world:
            return await side_by_side({name: _see(world, case) for name, case in CASES.items()})

    return asyncio.run(run())


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    """A case."""
    return str(request.param)


@pytest.fixture
def outcome(seen: dict[str, Seen | BaseException], name: str) -> Seen:
    """What was seen of it."""
    return raised(seen[name])


def test_it_is_said_and_waited_for(outcome: Seen, name: str) -> None:
    broken = outcome.broken
    assert said(broken).status == "False"
    assert said(broken, "ResolvedRefs").status == "False"
    assert said(broken, "ResolvedRefs").reason == CASES[name].reason
    assert said(broken, "Reconciling").status == "True"
    assert reason(broken, "Stalled") is None
    assert broken.status.observed_generation == broken.metadata.generation
    assert broken.status.pod_name is None


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.tenant is not None])
def test_the_tenant_says_so_too(outcome: Seen, name: str) -> None:
    case, tenant = CASES[name], outcome.tenant
    assert tenant is not None
    conditions = {item.type: item for item in tenant.status.conditions}
    assert conditions["Ready"].reason == case.tenant
    assert all(part in conditions["Ready"].message for part in case.says if part != case.tenant)
    assert ("Stalled" in conditions) == case.tenant_stalled
    assert ("Reconciling" in conditions) != case.tenant_stalled


def test_it_heals(outcome: Seen) -> None:
    healed = outcome.healed
    assert reason(healed) == "Completed"
    assert said(healed).status == "True"
    assert healed.status.result is not None
    assert healed.status.result.text == "healed"
    assert reason(healed, "Reconciling") is None
    assert reason(healed, "Stalled") is None
    assert said(healed, "ResolvedRefs").status == "True"


def test_it_is_told_once_as_an_event(outcome: Seen, name: str) -> None:
    told = [event for event in outcome.events if event["reason"] == CASES[name].reason]
    assert [event["type"] for event in told] == ["Warning"]
    assert all(part in told[0]["note"] for part in CASES[name].says)
    assert not any(SECRET_TEXT in event["note"] or "healed" in event["note"] for event in outcome.events)


async def test_what_can_never_work_is_stalled_and_not_tried(team: Team) -> None:
    await team.start("s", "[[say: never]]", runtime={"resources": {"requests": {"memory": "64Gi"}}})
    refused = await team.until("s", lambda now: reason(now, "Stalled") is not None)
    assert {item.type: (item.status, item.reason) for item in refused.status.conditions} == {
        "Accepted": ("False", "RequestAboveLimit"),
        "Ready": ("False", "RequestAboveLimit"),
        "Stalled": ("True", "RequestAboveLimit"),
    }
    assert "spec.runtime.resources" in said(refused).message
    assert await team.pod(refused) is None
