"""The session controller against a real API server, with the runner's own server at the other end."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from agentsession.api.base import API_VERSION
from agentsession.api.session import AgentSession
from agentsession.keys.grant import verify_grant
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ConflictError, NotFoundError
from agentsession.kube.objects import KubeObject, annotations_of, condition_of, is_terminating, key_of
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, CONFIGMAPS, NETWORKPOLICIES, PODS
from agentsession.resources.names import GRANT_ANNOTATION, NETWORK_POLICY, RUNNER_LABEL
from agentsession.sessions.controller import NotLeadingError

from .build import CONVERSATION
from .inprocess import SECONDS, World, leading, serve_kinds, surrounded

pytestmark = pytest.mark.apiserver


async def _gone(world: World, session: AgentSession) -> None:
    async with asyncio.timeout(SECONDS):
        while await world.pod(session) is not None:
            await asyncio.sleep(0.02)


async def test_the_whole_way(world: World) -> None:
    await world.tenant()
    session = await world.session()
    agent = await world.run(session)
    working = await world.says(session, "Connected")
    assert [turn.state for turn in working.status.turns] == ["Running"]
    world.egress.bills(session, requests=2, output=7)
    agent.free.set()
    done = await world.says(session, "Completed")
    await _gone(world, session)
    assert agent.asked == ["hello"]
    assert done.status.result is not None
    assert done.status.result.text == "HELLO"
    assert done.status.session_id == CONVERSATION
    assert done.status.usage is not None
    assert (done.status.usage.requests, done.status.usage.output_tokens, done.status.usage.estimated) == (2, 7, False)
    told = await world.told(session, "Connected", "Completed")
    assert sorted(reason for reason in told if reason != "Unschedulable") == ["Completed", "Connected"]


async def test_the_pod_is_granted_to_its_session_alone(world: World) -> None:
    tenant = await world.tenant()
    session = await world.session()
    pod = await world.made(session)
    async with asyncio.timeout(SECONDS):
        while GRANT_ANNOTATION not in pod["metadata"].get("annotations", {}):
            pod = await world.made(session)
    async with world.http.get(f"{world.egress.url}/v1/keys") as answer:
        grant = verify_grant(pod["metadata"]["annotations"][GRANT_ANNOTATION], await answer.json())
    assert (grant.pod_uid, grant.session_uid) == (pod["metadata"]["uid"], session.metadata.uid)
    assert (grant.tenant, grant.tenant_uid, grant.epoch) == ("default", tenant["metadata"]["uid"], 1)


async def test_a_pod_of_that_name_that_somebody_else_made_is_removed_and_never_granted(world: World) -> None:
    session = await world.session()
    await world.says(session, "TenantNotFound")
    namespace, name = world.pod_key(session)
    labels = {RUNNER_LABEL: "true"}
    owner = {
        "apiVersion": API_VERSION,
        "kind": "AgentSession",
        "name": "s",
        "uid": session.metadata.uid,
        "controller": True,
    }
    foreign = await world.api.create(
        PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "c", "image": "evil:1"}]},
        },
    )
    await world.tenant()
    async with asyncio.timeout(SECONDS):
        while True:
            pod = await world.pod(session)
            if pod is not None and pod["metadata"]["uid"] == foreign["metadata"]["uid"]:
                assert GRANT_ANNOTATION not in pod["metadata"].get("annotations", {})
            elif pod is not None and GRANT_ANNOTATION in pod["metadata"].get("annotations", {}):
                break
            await asyncio.sleep(0.01)
    assert pod["spec"]["containers"][0]["image"] == "runner:1"


async def test_a_leader_with_an_old_picture_can_do_nothing_twice(world: World) -> None:
    await world.tenant()
    session = await world.session()
    agent = await world.run(session)
    old: dict[str, Any] = dict(world.caches.sessions.get(session.key) or {})
    agent.free.set()
    await world.says(session, "Completed")
    await _gone(world, session)
    stale = {**old, "status": {}}
    world.caches.sessions._objects[session.key] = stale  # as a cache that missed all that came since
    with pytest.raises(ConflictError):
        await world.leader.sessions.reconcile(session.key)
    assert await world.pod(session) is None
    assert agent.asked == ["hello"]
    assert (await world.now(session)).status.phase == "Succeeded"


async def test_who_has_lost_the_lease_creates_no_pod(api: ApiClient, namespace: str) -> None:
    await serve_kinds(api)
    known: list[Caches] = []
    async with surrounded(api, namespace) as place:
        await place.tenant()
        session = await place.session()

        def leads() -> bool:
            return not known or _reason(known[0].sessions.get(session.key)) != "Starting"

        async with leading(place, api, leads=leads) as (caches, _, leader):
            known.append(caches)
            await place.says(session, "Starting")
            with pytest.raises(NotLeadingError):
                await leader.sessions.reconcile(session.key)
        assert await place.pod(session) is None
        async with leading(place, api, epoch=2):
            await place.made(session)


def _reason(session: KubeObject | None) -> str:
    return condition_of(session, "Ready")[1] if session is not None else ""


async def test_who_has_lost_the_lease_undoes_nothing(api: ApiClient, namespace: str) -> None:
    await serve_kinds(api)
    leads = True
    async with surrounded(api, namespace) as place:
        await place.tenant()
        session = await place.session()
        async with leading(place, api, leads=lambda: leads) as (caches, _, leader):
            async with asyncio.timeout(SECONDS):
                while GRANT_ANNOTATION not in annotations_of(made := await place.made(session)):
                    await asyncio.sleep(0.01)
            leads = False
            await api.merge_patch(PODS, key_of(made), {"metadata": {"annotations": {GRANT_ANNOTATION: None}}})
            async with asyncio.timeout(SECONDS):
                while GRANT_ANNOTATION in annotations_of(caches.pods.get(key_of(made)) or {"metadata": {}}):
                    await asyncio.sleep(0.01)
            with pytest.raises(NotLeadingError):
                await leader.sessions.reconcile(session.key)
        pod = await place.pod(session)
        assert pod is not None
        assert pod["metadata"]["uid"] == made["metadata"]["uid"]


async def test_follow_ups_are_delivered_one_by_one(world: World) -> None:
    await world.tenant()
    asked = [{"id": "a", "prompt": "first"}, {"id": "b", "prompt": "second"}]
    session = await world.session(lifecycle="LongRunning", followUps=asked)
    agent = await world.run(session)
    agent.free.set()
    async with asyncio.timeout(SECONDS):
        while (now := await world.now(session)).status.turns_completed < 3:
            await asyncio.sleep(0.02)
    assert agent.asked == ["hello", "first", "second"]
    assert [turn.text for turn in now.status.turns] == ["HELLO", "FIRST", "SECOND"]


async def test_a_prompt_is_read_from_its_config_map(world: World) -> None:
    await world.tenant()
    source = {"configMapKeyRef": {"name": "prompts", "key": "first"}}
    session = await world.session(prompt=None, promptFrom=source)
    missing = await world.says(session, "PromptNotFound")
    assert "ConfigMap prompts" in str(missing.status.conditions)
    metadata = {"name": "prompts", "namespace": world.namespace}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"first": "from the map"}}
    await world.api.create(CONFIGMAPS, body)
    world.queues.sessions.add(session.key)
    agent = await world.run(session)
    await world.says(session, "Connected")
    async with asyncio.timeout(SECONDS):
        while not agent.asked:
            await asyncio.sleep(0.02)
    assert agent.asked == ["from the map"]


async def test_sessions_that_wait_for_their_tenant_do_not_all_start_when_it_comes(world: World) -> None:
    waiting = [await world.session(f"s{number}") for number in range(6)]
    for session in waiting:
        await world.says(session, "TenantNotFound")
    await world.tenant(sessions={"maxConcurrent": 2})
    for session in waiting[2:]:
        await world.says(session, "TenantAtCapacity")
    for session in waiting[:2]:
        await world.made(session)
    await world.api.delete(AGENTSESSIONS, waiting[0].key)
    with suppress(NotFoundError):  # the garbage collector may be quicker
        await world.api.delete(PODS, world.pod_key(waiting[0]), grace_seconds=0)
    await world.made(waiting[2])
    await world.says(waiting[3], "TenantAtCapacity")


async def test_a_withdrawn_tenant_ends_its_sessions(world: World) -> None:
    await world.tenant()
    session = await world.session()
    await world.run(session)
    await world.says(session, "Connected")
    await world.api.delete(AGENTTENANTS, (world.namespace, "default"))
    await world.says(session, "TenantDeleted")
    await _gone(world, session)


async def test_a_policy_that_was_tampered_with_is_repaired(world: World) -> None:
    await world.tenant()
    key = (world.namespace, NETWORK_POLICY)
    session = await world.session()
    await world.made(session)
    right = await world.api.get(NETWORKPOLICIES, key)
    await world.api.merge_patch(NETWORKPOLICIES, key, {"spec": {"egress": [{}]}})
    async with asyncio.timeout(SECONDS):
        while (await world.api.get(NETWORKPOLICIES, key))["spec"] != right["spec"]:
            await asyncio.sleep(0.02)
    await world.api.delete(NETWORKPOLICIES, key)
    async with asyncio.timeout(SECONDS):
        while not (await world.api.list(NETWORKPOLICIES, namespace=world.namespace)).items:
            await asyncio.sleep(0.02)


async def test_a_runner_without_an_owner_goes_with_its_session(world: World) -> None:
    await world.tenant()
    session = await world.session(lifecycle="LongRunning")
    await world.run(session)
    await world.says(session, "Connected")
    orphan = [{"op": "remove", "path": "/metadata/ownerReferences"}]  # what kubectl delete --cascade=orphan does first
    await world.api.json_patch(PODS, world.pod_key(session), orphan)
    await world.api.delete(AGENTSESSIONS, session.key)
    async with asyncio.timeout(SECONDS):
        while not is_terminating(await world.pod(session) or {"metadata": {"deletionTimestamp": "gone"}}):
            await asyncio.sleep(0.02)


async def test_ttl_deletes_the_object(world: World) -> None:
    await world.tenant()
    session = await world.session(ttlSecondsAfterFinished=0)
    (await world.run(session)).free.set()
    async with asyncio.timeout(SECONDS):
        while (await world.api.list(AGENTSESSIONS, namespace=world.namespace)).items:
            await asyncio.sleep(0.02)


def _foreign(namespace: str, selector: dict[str, Any]) -> dict[str, Any]:
    """What teams have for their own pods."""
    spec = {
        "podSelector": selector,
        "policyTypes": ["Egress"],
        "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}],
    }
    metadata = {"name": "allow-dns", "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


RUNNERS_EXCEPTED = {"matchExpressions": [{"key": RUNNER_LABEL, "operator": "DoesNotExist"}]}


async def test_a_policy_that_widens_holds_sessions_back_until_it_excepts_runners(world: World) -> None:
    await world.tenant()
    await world.api.create(NETWORKPOLICIES, _foreign(world.namespace, {}))
    session = await world.session()
    await world.says(session, "WidenedByPolicy")
    assert await world.pod(session) is None
    await world.api.apply(NETWORKPOLICIES, _foreign(world.namespace, RUNNERS_EXCEPTED))
    agent = await world.run(session)
    agent.free.set()
    await world.says(session, "Completed")


async def test_a_policy_that_widens_stops_what_runs(world: World) -> None:
    await world.tenant()
    session = await world.session()
    await world.run(session)
    await world.says(session, "Connected")
    await world.api.create(NETWORKPOLICIES, _foreign(world.namespace, {"matchLabels": {"app": "web"}}))
    dressed = {"metadata": {"labels": {"app": "web"}}}
    await world.api.merge_patch(PODS, world.pod_key(session), dressed)
    await world.says(session, "WidenedByPolicy")
    await _gone(world, session)
