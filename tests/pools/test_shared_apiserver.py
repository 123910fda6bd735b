"""Pools of one namespace, sessions of another, against a real API server."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from agentsession.api.base import condition
from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession
from agentsession.keys.grant import verify_grant
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject, annotations_of, is_terminating, key_of, labels_of, uid_of
from agentsession.kube.resource import (
    AGENTPOOLS,
    AGENTSESSIONS,
    AGENTTENANTS,
    EVENTS,
    NAMESPACES,
    NETWORKPOLICIES,
    PODS,
    SERVICEACCOUNTS,
)
from agentsession.resources.names import (
    GRANT_ANNOTATION,
    NETWORK_POLICY,
    RUNNER_SERVICE_ACCOUNT,
    SESSION_LABEL,
    SESSION_NAMESPACE_LABEL,
    TENANT_LABEL,
)
from tests.sessions.build import INSTALL
from tests.sessions.inprocess import SECONDS, Place, World, leading, operating, serve_kinds, surrounded
from tests.sessions.test_crashes import Calls

from .test_claims_apiserver import Nodes, until

pytestmark = pytest.mark.apiserver

TEAM = {"tests.example/pools": "may"}


def listing(*namespaces: str) -> Installation:
    return INSTALL.model_copy(update={"shared_pool_namespaces": list(namespaces)})


@dataclass
class Scene:
    """The pool's namespace, and one with a tenant."""

    pools: Place
    home: Place
    nodes: Nodes

    async def pool(self, replicas: int = 1, **selector: Any) -> AgentPool:
        """A shared pool whose runners are ready."""
        made = await self.pools.pool(replicas, allowedNamespaces={"selector": selector or {"matchLabels": TEAM}})
        await self.nodes.start(replicas)
        await until(self.pools, lambda now: now.status.ready_replicas == replicas)
        return made

    async def session(self, name: str = "s", **spec: Any) -> AgentSession:
        """One that names it."""
        ref = {"name": "p", "namespace": self.pools.namespace, **spec.pop("ref", {})}
        return await self.home.session(name, **{"agent": None, "poolRef": ref, **spec})

    async def claimed(self) -> list[KubeObject]:
        """Runners of the pool that serve somebody and are not on their way out."""
        return [pod for pod in await self.pools.pods() if SESSION_LABEL in labels_of(pod) and not is_terminating(pod)]

    async def until_claimed(self, count: int) -> None:
        """Wait until so many are."""
        async with asyncio.timeout(SECONDS):
            while len(await self.claimed()) != count:
                await asyncio.sleep(0.02)

    async def consent(self, *namespaces: str) -> None:
        change = {"spec": {"sharedPools": {"namespaces": list(namespaces)}}}
        changed = await self.home.api.merge_patch(AGENTTENANTS, (self.home.namespace, "default"), change)
        self.home.egress.finds(changed)


@pytest.fixture
async def home(api: ApiClient) -> AsyncIterator[str]:
    """The namespace of the sessions, which pools admit."""
    name = f"home-{uuid.uuid4().hex[:8]}"
    await api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": TEAM}})
    yield name
    await api.delete(NAMESPACES, ("", name))


@pytest.fixture
async def world(api: ApiClient, namespace: str) -> AsyncIterator[World]:
    """The controllers, with one namespace listed."""
    async with operating(api, namespace, install=listing(namespace)) as made:
        yield made


@pytest.fixture
async def scene(world: World, home: str) -> Scene:
    """All that a claim needs but the pool."""
    there = replace(world, namespace=home)
    await there.tenant(sharedPools={"namespaces": [world.namespace]})
    return Scene(world, there, Nodes(world))


def ready(session: AgentSession) -> str:
    found = condition(session.status.conditions, "Ready")
    return found.message if found is not None else ""


async def gone(world: Place, key: tuple[str, str], resource: Any = PODS) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                if is_terminating(await world.api.get(resource, key)):
                    return
            except NotFoundError:
                return
            await asyncio.sleep(0.02)


async def test_the_whole_way(scene: Scene) -> None:
    await scene.pool(2)
    session = await scene.session()
    now = await scene.home.says(session, "Connected")
    (pod,) = await scene.claimed()
    assert (now.status.start_type, now.status.pod_name, now.status.pod_namespace) == ("Warm", *key_of(pod)[::-1])
    assert not pod["metadata"].get("ownerReferences")
    assert (labels_of(pod)[SESSION_NAMESPACE_LABEL], labels_of(pod)[TENANT_LABEL]) == (scene.home.namespace, "default")
    grant = verify_grant(annotations_of(pod)[GRANT_ANNOTATION], scene.pools.keyring.jwks())
    assert (grant.namespace, grant.place, grant.pod_uid) == (scene.home.namespace, scene.pools.namespace, uid_of(pod))
    assert all("persistentVolumeClaim" not in volume for volume in pod["spec"]["volumes"])
    for waiting in await scene.pools.pods():
        if SESSION_LABEL not in labels_of(waiting):
            assert {TENANT_LABEL, SESSION_NAMESPACE_LABEL}.isdisjoint(labels_of(waiting))
    for resource, name in ((NETWORKPOLICIES, NETWORK_POLICY), (SERVICEACCOUNTS, RUNNER_SERVICE_ACCOUNT)):
        await scene.pools.api.get(resource, (scene.pools.namespace, name))

    scene.nodes.agents[pod["metadata"]["name"]].free.set()
    assert (await scene.home.says(session, "Completed")).status.result.text == "HELLO"  # type: ignore[union-attr]
    await scene.until_claimed(0)


async def test_without_the_tenants_consent_it_waits_and_is_told_the_field(scene: Scene) -> None:
    await scene.consent()
    await scene.pool()
    session = await scene.session()
    told = await scene.home.says(session, "SharedPoolNotAllowed")
    assert f"does not consent to shared pools of namespace {scene.pools.namespace}" in ready(told)
    assert "spec.sharedPools.namespaces" in ready(told)
    await scene.consent("elsewhere", scene.pools.namespace)
    await scene.home.says(session, "Connected")


async def test_a_namespace_that_the_pool_does_not_admit_waits_until_it_does(scene: Scene) -> None:
    others = [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["other"]}]
    await scene.pool(matchExpressions=others)
    session = await scene.session()
    told = await scene.home.says(session, "PoolNotFound")
    absent = await scene.home.session("t", agent=None, poolRef={"name": "q", "namespace": scene.pools.namespace})
    assert ready(told).replace("AgentPool p", "AgentPool q") == ready(await scene.home.says(absent, "PoolNotFound"))
    await scene.home.api.merge_patch(
        AGENTPOOLS,
        (scene.pools.namespace, "p"),
        {"spec": {"allowedNamespaces": {"selector": {"matchExpressions": None, "matchLabels": TEAM}}}},
    )
    await scene.home.says(session, "Connected")


async def test_a_tenants_own_pool_is_not_for_other_namespaces(scene: Scene) -> None:
    await replace(scene.pools).tenant()
    await scene.pools.pool(1)
    await scene.home.says(await scene.session(), "PoolNotFound")


async def test_where_the_installer_lists_none_no_pool_is_shared(scene: Scene) -> None:
    await scene.home.pool(1, allowedNamespaces={"selector": {}})
    told = await until(scene.home, lambda now: condition(now.status.conditions, "Stalled") is not None)
    stalled = condition(told.status.conditions, "Stalled")
    assert stalled is not None
    assert (stalled.reason, "pools.sharedNamespaces" in stalled.message) == ("NamespaceNotAllowed", True)
    assert await scene.home.pods() == []


async def test_who_keeps_files_starts_alone_and_is_told_why(world: World, home: str) -> None:
    there = replace(world, namespace=home)
    await there.tenant(sharedPools={"namespaces": [world.namespace]}, workspace={"size": "1Gi"})
    scene = Scene(world, there, Nodes(world))
    await scene.pool()
    session = await scene.session()
    await there.told(session, "ColdStart")
    notes = [event["note"] for event in (await there.api.list(EVENTS, namespace=home)).items]
    assert any("AgentTenant default has a workspace" in note for note in notes)
    assert await scene.claimed() == []


async def test_a_runner_goes_with_its_session(scene: Scene) -> None:
    await scene.pool()
    session = await scene.session()
    await scene.home.says(session, "Connected")
    (pod,) = await scene.claimed()
    await scene.home.api.delete(AGENTSESSIONS, session.key)
    await gone(scene.pools, key_of(pod))


async def test_a_tenant_that_withdraws_ends_what_runs(scene: Scene) -> None:
    await scene.pool()
    session = await scene.session()
    await scene.home.says(session, "Connected")
    await scene.consent()
    ended = await scene.home.says(session, "SharedPoolNotAllowed")
    assert ended.status.phase == "Failed"
    await scene.until_claimed(0)


async def test_a_tenant_that_is_deleted_ends_what_runs(scene: Scene) -> None:
    await scene.pool()
    session = await scene.session()
    await scene.home.says(session, "Connected")
    await scene.home.api.delete(AGENTTENANTS, (scene.home.namespace, "default"))
    assert (await scene.home.says(session, "TenantDeleted")).status.phase == "Failed"
    await scene.until_claimed(0)


async def test_a_pool_that_is_deleted_leaves_who_serves_and_its_walls(scene: Scene) -> None:
    await scene.pool(2)
    session = await scene.session()
    await scene.home.says(session, "Connected")
    (pod,) = await scene.claimed()
    await scene.pools.api.delete(AGENTPOOLS, (scene.pools.namespace, "p"))
    policy = (scene.pools.namespace, NETWORK_POLICY)
    before = uid_of(await scene.pools.api.get(NETWORKPOLICIES, policy))
    await scene.pools.api.delete(NETWORKPOLICIES, policy)
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                if uid_of(await scene.pools.api.get(NETWORKPOLICIES, policy)) != before:
                    break
            except NotFoundError:
                await asyncio.sleep(0.02)
    assert [uid_of(item) for item in await scene.claimed()] == [uid_of(pod)]
    await scene.home.api.delete(AGENTSESSIONS, session.key)
    await gone(scene.pools, key_of(pod))


async def test_a_policy_that_widens_there_ends_the_session_here(scene: Scene) -> None:
    await scene.pool()
    session = await scene.session()
    await scene.home.says(session, "Connected")
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "wide", "namespace": scene.pools.namespace},
        "spec": {"podSelector": {}, "egress": [{}]},
    }
    await scene.pools.api.create(NETWORKPOLICIES, body)
    told = await scene.home.says(session, "WidenedByPolicy")
    assert f"NetworkPolicy wide of namespace {scene.pools.namespace} also selects runners" in ready(told)


async def test_runners_elsewhere_hold_the_tenants_slots(scene: Scene) -> None:
    """Also from who is older: else it would only wait for those that came before."""
    await scene.home.api.merge_patch(
        AGENTTENANTS, (scene.home.namespace, "default"), {"spec": {"sessions": {"maxConcurrent": 1}}}
    )
    await scene.consent(scene.pools.namespace)
    await scene.pool()
    older = await scene.home.session("a", suspend=True)
    younger = await scene.session("b")
    await scene.home.says(younger, "Connected")
    await scene.home.api.merge_patch(AGENTSESSIONS, older.key, {"spec": {"suspend": False}})
    await scene.home.says(older, "TenantAtCapacity")
    await scene.home.api.delete(AGENTSESSIONS, younger.key)
    await scene.home.says(older, "Unschedulable")


async def test_who_waits_elsewhere_is_given_the_next_one(scene: Scene) -> None:
    await scene.pool()
    first = await scene.session("a")
    await scene.home.says(first, "Connected")
    second = await scene.session("b", ref={"onExhausted": "Wait"})
    await scene.home.says(second, "PoolExhausted")
    await until(
        scene.pools, lambda now: any((c.type, c.status) == ("Exhausted", "True") for c in now.status.conditions)
    )
    await scene.nodes.start(1)
    await scene.home.says(second, "Connected")


@pytest.mark.parametrize("meanwhile", ["nothing", "deleted"])
async def test_the_next_leader_takes_up_what_was_claimed(
    api: ApiClient, namespace: str, home: str, meanwhile: str
) -> None:
    """The first one dies of the bind's lost answer, before any status tells of the claim."""
    await serve_kinds(api)
    install, calls = listing(namespace), Calls(1, "answer")
    async with surrounded(api, namespace) as place:
        there = replace(place, namespace=home)
        scene = Scene(place, there, Nodes(place))
        await there.tenant(sharedPools={"namespaces": [namespace]})
        async with (
            aiohttp.ClientSession(middlewares=(calls,)) as to_runners,
            leading(place, api, to_runners, install=install),
        ):
            await scene.pool()
            session = await scene.session()
            async with asyncio.timeout(SECONDS):
                await calls.crashed.wait()
        (pod,) = await scene.claimed()
        assert (await there.now(session)).status.pod_name is None
        if meanwhile == "deleted":
            await api.delete(AGENTSESSIONS, session.key)
        async with leading(place, api, epoch=2, install=install):
            if meanwhile == "deleted":
                await gone(place, key_of(pod))
                return
            now = await there.says(session, "Connected")
            assert (now.status.pod_name, now.status.pod_namespace) == key_of(pod)[::-1]
            assert scene.nodes.agents[key_of(pod)[1]].asked == ["hello"]
            assert [uid_of(item) for item in await scene.claimed()] == [uid_of(pod)]
        await api.delete(AGENTSESSIONS, session.key)
