"""What else the operator's token is good for: its RBAC admits each of these attacks, and the policies do not."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from agentsession.api.session import AgentSession
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError, NotFoundError
from agentsession.kube.resource import (
    AGENTSESSIONS,
    NETWORKPOLICIES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    SERVICEACCOUNTS,
)
from agentsession.resources.claim import claim_patch
from agentsession.resources.names import (
    GRANT_ANNOTATION,
    NETWORK_POLICY,
    RUNNER_SERVICE_ACCOUNT,
    SESSION_NAMESPACE_LABEL,
)
from tests.sessions.build import tenant
from tests.sessions.inprocess import SECONDS, World, operating

from .cluster import AT_WORK, ELSEWHERE, GUARDED, OPEN, SHARED, Callers, installation
from .objects import account, agent_session, claim, name, plain_pod, policy, runner, waiting

pytestmark = pytest.mark.apiserver

Attack = Callable[[Callers, str], Awaitable[object]]
ANYWHERE: list[dict[str, Any]] = [{}]


async def _set_image(api: ApiClient, key: tuple[str, str], image: str) -> None:
    operation = {"op": "replace", "path": "/spec/containers/0/image", "value": image}
    await api.json_patch(PODS, key, [operation])


async def another_image(callers: Callers, namespace: str) -> None:
    """Somebody's pod then runs the attacker's program, with all that the pod has."""
    pod = await callers.admin.create(PODS, plain_pod(namespace))
    await _set_image(callers.operator, (namespace, pod["metadata"]["name"]), "strange:1")


async def delete_a_pod(callers: Callers, namespace: str) -> None:
    pod = await callers.admin.create(PODS, plain_pod(namespace))
    await callers.operator.delete(PODS, (namespace, pod["metadata"]["name"]))


def patch_a_runner(metadata: dict[str, Any]) -> Attack:
    async def attack(callers: Callers, namespace: str) -> None:
        pod = await callers.operator.create(PODS, await runner(callers, namespace))
        await callers.operator.merge_patch(PODS, (namespace, pod["metadata"]["name"]), {"metadata": metadata})

    return attack


async def grant_it_to_another(callers: Callers, namespace: str) -> None:
    pod = await callers.operator.create(PODS, await runner(callers, namespace))
    key = (namespace, pod["metadata"]["name"])
    for grant in ("first", "second"):
        await callers.operator.merge_patch(PODS, key, {"metadata": {"annotations": {GRANT_ANNOTATION: grant}}})


def claim_with(*more: dict[str, object]) -> Attack:
    """The write that claims a warm runner, and something else in it."""

    async def attack(callers: Callers, namespace: str) -> None:
        pod = await waiting(callers, namespace)
        session = AgentSession.model_validate(await callers.admin.create(AGENTSESSIONS, agent_session(namespace)))
        pool_uid = pod["metadata"]["ownerReferences"][0]["uid"]
        operations = claim_patch(namespace, pool_uid, pod["metadata"]["uid"], session, "grant", timedelta(hours=1))
        await callers.operator.json_patch(PODS, (namespace, pod["metadata"]["name"]), [*operations, *more])

    return attack


def give_away(*more: dict[str, Any], keeps_files: bool = False) -> Attack:
    """The write that claims a shared pool's runner for a session of another namespace, and something else in it."""

    async def attack(callers: Callers, namespace: str) -> None:
        pod = await waiting(callers, namespace, tenant(workspace={"size": "1Gi"}) if keeps_files else None)
        session = AgentSession.model_validate(await callers.admin.create(AGENTSESSIONS, agent_session(AT_WORK)))
        pool_uid = pod["metadata"]["ownerReferences"][0]["uid"]
        operations = claim_patch(namespace, pool_uid, pod["metadata"]["uid"], session, "grant", timedelta(hours=1))
        await callers.operator.json_patch(PODS, (namespace, pod["metadata"]["name"]), [*operations, *more])

    return attack


async def take_a_runner_without_a_grant(callers: Callers, namespace: str) -> None:
    pod = await waiting(callers, namespace)
    session = {"op": "add", "path": "/metadata/labels/agentsession.io~1session-uid", "value": "x"}
    await callers.operator.json_patch(PODS, (namespace, pod["metadata"]["name"]), [session])


async def let_go(callers: Callers, namespace: str) -> None:
    pod = await callers.operator.create(PODS, await runner(callers, namespace))
    gate = {"op": "remove", "path": "/spec/schedulingGates"}
    await callers.operator.json_patch(PODS, (namespace, pod["metadata"]["name"]), [gate])


def network(**spec: Any) -> Attack:
    return lambda callers, namespace: callers.operator.apply(NETWORKPOLICIES, policy(namespace, **spec))


def network_named(named: str) -> Attack:
    async def attack(callers: Callers, namespace: str) -> None:
        made = policy(namespace)
        await callers.operator.apply(NETWORKPOLICIES, {**made, "metadata": {**made["metadata"], "name": named}})

    return attack


async def open_somebodys_network(callers: Callers, namespace: str) -> None:
    made = policy(namespace, ingress=[], egress=[])
    made["metadata"] = {**made["metadata"], "name": name("deny")}
    await callers.admin.create(NETWORKPOLICIES, made)
    await callers.operator.merge_patch(
        NETWORKPOLICIES, (namespace, made["metadata"]["name"]), {"spec": {"egress": ANYWHERE}}
    )


def service_account_with(**fields: Any) -> Attack:
    return lambda callers, namespace: callers.operator.apply(SERVICEACCOUNTS, account(namespace, **fields))


def role_of_a_cloud(named: str) -> Attack:
    """Workload identity of clouds hangs on annotations of service accounts."""

    async def attack(callers: Callers, namespace: str) -> None:
        metadata = {"name": named, "namespace": namespace, "annotations": {"eks.amazonaws.com/role-arn": "admin"}}
        await callers.operator.apply(SERVICEACCOUNTS, account(namespace, metadata=metadata))

    return attack


def workspace(**fields: Any) -> Attack:
    return lambda callers, namespace: callers.operator.apply(PERSISTENTVOLUMECLAIMS, claim(namespace, **fields))


async def annotate_a_claim(callers: Callers, namespace: str) -> None:
    made = await callers.operator.apply(PERSISTENTVOLUMECLAIMS, claim(namespace))
    patch = {"metadata": {"annotations": {"nfs.io/storage-path": "../others"}}}
    await callers.operator.merge_patch(PERSISTENTVOLUMECLAIMS, (namespace, made["metadata"]["name"]), patch)


async def delete_a_session(callers: Callers, namespace: str) -> None:
    made = await callers.admin.create(AGENTSESSIONS, agent_session(namespace))
    await callers.operator.delete(AGENTSESSIONS, (namespace, made["metadata"]["name"]))


SOURCE = {"kind": "PersistentVolumeClaim", "name": "payroll"}
EITHER = "(changes nothing else|the runner of its session|runner pods only)"
"""Several rules refuse it; which of them is heard is open."""
ATTACKS: dict[str, tuple[Attack, str]] = {
    "image of any pod": (another_image, "runner pods only"),
    "any pod deleted": (delete_a_pod, "runner pods only"),
    "a runner behind a Service": (patch_a_runner({"labels": {"app": "bank"}}), "changes nothing else"),
    "a runner of another session": (
        patch_a_runner({"labels": {"agentsession.io/session-uid": "x"}}),
        EITHER,
    ),
    "a runner that is none": (
        patch_a_runner({"labels": {"agentsession.io/runner": None}}),
        EITHER,
    ),
    "a runner with more networks": (
        patch_a_runner({"annotations": {"k8s.v1.cni.cncf.io/networks": "x"}}),
        "changes nothing else",
    ),
    "a runner without owner": (patch_a_runner({"ownerReferences": []}), "changes nothing else"),
    "a runner that stays": (patch_a_runner({"finalizers": ["strange.example/stay"]}), "changes nothing else"),
    "a runner let go without a word": (let_go, "spec of a runner pod cannot be changed"),
    "a second grant": (grant_it_to_another, "(written once|changes nothing else)"),
    "a claim that changes the image": (
        claim_with({"op": "replace", "path": "/spec/containers/0/image", "value": "strange:1"}),
        "spec of a runner pod cannot be changed",
    ),
    "a claim that puts it behind a Service": (
        claim_with({"op": "add", "path": "/metadata/labels/app", "value": "bank"}),
        "changes nothing else",
    ),
    "a claim for somebody else": (
        claim_with({"op": "replace", "path": "/metadata/ownerReferences/0/kind", "value": "AgentTenant"}),
        "changes nothing else",
    ),
    "a claim for another namespace": (give_away(), EITHER),
    "a claim without a grant": (take_a_runner_without_a_grant, EITHER),
    "an open network": (network(egress=ANYWHERE), "one NetworkPolicy"),
    "an open network for its own": (network(ingress=ANYWHERE), "one NetworkPolicy"),
    "no egress rule": (network(policyTypes=["Ingress"]), "one NetworkPolicy"),
    "other pods' network": (network(podSelector={}), "one NetworkPolicy"),
    "a NetworkPolicy more": (network_named("more"), "one NetworkPolicy"),
    "somebody's network": (open_somebodys_network, "one NetworkPolicy"),
    "a cloud's role for runners": (role_of_a_cloud("agentsession-runner"), "one ServiceAccount"),
    "a cloud's role for others": (role_of_a_cloud("default"), "one ServiceAccount"),
    "an account more": (role_of_a_cloud("more"), "one ServiceAccount"),
    "Secrets for runners": (service_account_with(imagePullSecrets=[{"name": "registry"}]), "one ServiceAccount"),
    "a token for runners": (service_account_with(automountServiceAccountToken=True), "one ServiceAccount"),
    "a claim of any name": (workspace(prefix="payroll"), "PersistentVolumeClaims agentsession-"),
    "a claim on a given volume": (workspace(volumeName="payroll"), "names no volume"),
    "a copy of a claim": (workspace(dataSource=SOURCE), "no data source"),
    "a block device": (workspace(volumeMode="Block"), "an empty file system"),
    "a folder of a provisioner": (workspace(annotations={"nfs.io/storage-path": "../others"}), "no annotation"),
    "a folder of a provisioner, later": (annotate_a_claim, "no annotation"),
    "any session deleted": (delete_a_session, "ttlSecondsAfterFinished"),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_policies_take_from_the_token_what_it_does_not_need(callers: Callers, attack: str) -> None:
    attempt, says = ATTACKS[attack]
    await attempt(callers, OPEN)
    with pytest.raises(ForbiddenError, match=f"ValidatingAdmissionPolicy.*{says}"):
        await attempt(callers, GUARDED)


@pytest.mark.parametrize("resource", [NETWORKPOLICIES, SERVICEACCOUNTS, PERSISTENTVOLUMECLAIMS], ids=lambda r: r.plural)
async def test_nothing_is_made_where_the_installer_wants_no_sessions(callers: Callers, resource: Any) -> None:
    make = {NETWORKPOLICIES: policy, SERVICEACCOUNTS: account, PERSISTENTVOLUMECLAIMS: claim}[resource]
    await callers.operator.apply(resource, make(OPEN))
    with suppress(NotFoundError):
        await callers.admin.delete(SERVICEACCOUNTS, (ELSEWHERE, RUNNER_SERVICE_ACCOUNT))
    with pytest.raises(ForbiddenError, match=f"kubectl label namespace {ELSEWHERE} agentsession.io/sessions=allowed"):
        await callers.operator.apply(resource, make(ELSEWHERE))


async def test_a_whole_session_passes(callers: Callers) -> None:
    """The controllers work with the operator's token: policy, claim, pod, grant, turn, suspension, end, ttl."""
    async with operating(callers.admin, AT_WORK, operator=callers.operator, install=installation()) as world:
        await world.tenant(workspace={"size": "1Gi"})
        session = await world.session(ttlSecondsAfterFinished=0)
        first = await world.run(session)
        await world.says(session, "Connected")
        policy_key = (AT_WORK, NETWORK_POLICY)
        await callers.admin.merge_patch(NETWORKPOLICIES, policy_key, {"spec": {"egress": ANYWHERE}})
        async with asyncio.timeout(SECONDS):
            while (await callers.admin.get(NETWORKPOLICIES, policy_key))["spec"]["egress"] == ANYWHERE:
                await asyncio.sleep(0.02)
        await callers.admin.merge_patch(AGENTSESSIONS, session.key, {"spec": {"suspend": True}})
        await _suspended(world, session)
        await callers.admin.merge_patch(AGENTSESSIONS, session.key, {"spec": {"suspend": False}})
        second = await world.run(session)
        second.free.set()
        await _gone(callers.admin, session.key)
        assert (first.asked, len(second.asked)) == (["hello"], 1)


async def test_a_claim_passes(callers: Callers) -> None:
    """So what is refused above is not the claim."""
    await claim_with()(callers, GUARDED)
    await claim_with()(callers, SHARED)
    await give_away()(callers, SHARED)


async def claim_then_give_away(callers: Callers, namespace: str) -> None:
    """A session's runner, which would then outlive it."""
    pod = await waiting(callers, namespace)
    session = AgentSession.model_validate(await callers.admin.create(AGENTSESSIONS, agent_session(namespace)))
    pool_uid, key = pod["metadata"]["ownerReferences"][0]["uid"], (namespace, pod["metadata"]["name"])
    operations = claim_patch(namespace, pool_uid, pod["metadata"]["uid"], session, "grant", timedelta(hours=1))
    await callers.operator.json_patch(PODS, key, operations)
    home = {"labels": {SESSION_NAMESPACE_LABEL: AT_WORK}}
    await callers.operator.merge_patch(PODS, key, {"metadata": {"ownerReferences": [], **home}})


HOME = f"/metadata/labels/{SESSION_NAMESPACE_LABEL.replace('/', '~1')}"
GIVEN_AWAY: dict[str, Attack] = {
    "a runner with a tenant's files": give_away(keeps_files=True),
    "to nobody's namespace": give_away({"op": "remove", "path": HOME}),
    "to another image": give_away({"op": "replace", "path": "/spec/containers/0/image", "value": "strange:1"}),
    "behind a Service": give_away({"op": "add", "path": "/metadata/labels/app", "value": "bank"}),
    "without a grant": give_away({"op": "remove", "path": "/metadata/annotations/agentsession.io~1grant"}),
    "after it was claimed": claim_then_give_away,
}


@pytest.mark.parametrize("attack", GIVEN_AWAY)
async def test_where_pools_are_shared_the_token_is_good_for_such_a_claim_alone(callers: Callers, attack: str) -> None:
    await GIVEN_AWAY[attack](callers, OPEN)
    with pytest.raises(ForbiddenError, match="ValidatingAdmissionPolicy"):
        await GIVEN_AWAY[attack](callers, SHARED)


async def _suspended(world: World, session: AgentSession) -> None:
    async with asyncio.timeout(SECONDS):
        while (await world.now(session)).status.phase != "Suspended":
            await asyncio.sleep(0.02)


async def _gone(api: ApiClient, key: tuple[str, str]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await api.get(AGENTSESSIONS, key)
            except NotFoundError:
                return
            await asyncio.sleep(0.02)
