"""The client against a real API server, some of it through a proxy that breaks things."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from agentsession.kube import client as client_module
from agentsession.kube import errors
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.objects import KubeObject, key_of, uid_of
from agentsession.kube.resource import (
    CONFIGMAPS,
    PODS,
    SECRETS,
    SUBJECTACCESSREVIEWS,
    TOKENREVIEWS,
    Resource,
)
from tests.kube.eventually import eventually
from tests.kube.faults import Fault
from tests.kube.proxy import Proxy, running

pytestmark = pytest.mark.apiserver


def configmap(namespace: str, name: str = "a", **data: str) -> KubeObject:
    metadata = {"namespace": namespace, "name": name, "labels": {"made-by": "test"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(namespace: str, name: str = "a", **spec: object) -> KubeObject:
    container = {"name": "c", "image": "none.invalid/none"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"containers": [container], "schedulerName": "none", **spec},
    }


@pytest.fixture
async def proxied(connection: Connection) -> AsyncIterator[tuple[Proxy, ApiClient]]:
    async with running(connection) as (proxy, url), aiohttp.ClientSession() as session:
        yield proxy, ApiClient(url, session, timeout=2.0)


async def test_create_read_list_delete(api: ApiClient, namespace: str) -> None:
    made = await api.create(CONFIGMAPS, configmap(namespace, x="1"))
    assert (await api.get(CONFIGMAPS, (namespace, "a")))["data"] == {"x": "1"}
    found = await api.list(CONFIGMAPS, namespace=namespace, label_selector="made-by=test")
    assert [(obj["kind"], obj["apiVersion"], uid_of(obj)) for obj in found.items] == [("ConfigMap", "v1", uid_of(made))]
    assert int(found.resource_version) >= int(made["metadata"]["resourceVersion"])
    assert not (await api.list(CONFIGMAPS, namespace=namespace, label_selector="made-by=other")).items
    with pytest.raises(errors.AlreadyExistsError):
        await api.create(CONFIGMAPS, configmap(namespace))
    await api.delete(CONFIGMAPS, key_of(made), uid=uid_of(made))
    with pytest.raises(errors.NotFoundError, match='"a" not found'):
        await api.get(CONFIGMAPS, key_of(made))


async def test_a_list_has_all_pages(api: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAGE", 3)
    for number in range(8):
        await api.create(CONFIGMAPS, configmap(namespace, f"n{number}"))
    found = await api.list(CONFIGMAPS, namespace=namespace, label_selector="made-by=test")
    assert [key_of(obj)[1] for obj in found.items] == [f"n{number}" for number in range(8)]


async def test_apply_creates_changes_and_takes_back_its_own_fields_only(api: ApiClient, namespace: str) -> None:
    await api.apply(CONFIGMAPS, configmap(namespace, ours="1", dropped="1"))
    await api.merge_patch(CONFIGMAPS, (namespace, "a"), {"data": {"theirs": "1"}})
    applied = await api.apply(CONFIGMAPS, configmap(namespace, ours="2"))
    assert applied["data"]["ours"] == "2"
    assert "dropped" not in applied["data"]


async def test_apply_wins_back_a_field_that_another_manager_took(
    api: ApiClient, connection: Connection, namespace: str
) -> None:
    await api.apply(CONFIGMAPS, configmap(namespace, x="ours"))
    url = f"{connection.server}{CONFIGMAPS.path((namespace, 'a'))}?fieldManager=somebody"
    headers = {"Content-Type": "application/merge-patch+json"}
    async with (
        connection.open() as session,
        session.patch(url, json={"data": {"x": "theirs"}}, headers=headers) as done,
    ):
        assert done.status == 200
    assert (await api.apply(CONFIGMAPS, configmap(namespace, x="ours")))["data"] == {"x": "ours"}


@pytest.mark.parametrize("write", ["apply", "create"])
async def test_every_character_is_written_as_it_is(api: ApiClient, namespace: str, write: str) -> None:
    """An apply is read as YAML: emoji in an answer once kept its session from ever ending."""
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10000), 0x10000, 0x1F600, 0x10FFFF]))
    body = configmap(namespace, ascii='\\ud83d\\ude00 "', all=text)
    written = await getattr(api, write)(CONFIGMAPS, body)
    assert written["data"] == body["data"]


async def test_an_unchanged_apply_changes_nothing(api: ApiClient, namespace: str) -> None:
    first = await api.apply(CONFIGMAPS, configmap(namespace, x="1"))
    second = await api.apply(CONFIGMAPS, configmap(namespace, x="1"))
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_apply_holds_to_a_uid(api: ApiClient, namespace: str) -> None:
    body = configmap(namespace, x="1")
    await api.apply(CONFIGMAPS, body)
    with pytest.raises(errors.ConflictError):
        await api.apply(CONFIGMAPS, {**body, "metadata": {**body["metadata"], "uid": "another"}})


async def test_a_field_that_the_server_does_not_know_is_refused(api: ApiClient, namespace: str) -> None:
    with pytest.raises(errors.InvalidError, match="hostUser"):
        await api.create(PODS, pod(namespace, hostUser=False))
    with pytest.raises(errors.ApiError, match="hostUser"):
        await api.apply(PODS, pod(namespace, hostUser=False))


async def test_status_is_applied_as_a_whole_to_that_very_object(api: ApiClient, namespace: str) -> None:
    made = await api.create(PODS, pod(namespace))
    key, uid = key_of(made), uid_of(made)
    ready = {"type": "Custom", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    await api.apply_status(PODS, key, {"conditions": [ready], "message": "first"}, uid=uid)
    second = await api.apply_status(PODS, key, {"message": "second"}, uid=uid)
    assert second["status"]["message"] == "second"
    assert "Custom" not in {condition["type"] for condition in second["status"].get("conditions", [])}
    with pytest.raises(errors.ConflictError):
        await api.apply_status(PODS, key, {"message": "third"}, uid="of its predecessor")
    stale = made["metadata"]["resourceVersion"]
    with pytest.raises(errors.ConflictError):
        await api.apply_status(PODS, key, {"message": "third"}, uid=uid, resource_version=stale)
    await api.apply_status(
        PODS, key, {"message": "third"}, uid=uid, resource_version=second["metadata"]["resourceVersion"]
    )


async def test_patches_hold_to_their_guards(api: ApiClient, namespace: str) -> None:
    made = await api.create(CONFIGMAPS, configmap(namespace, x="1"))
    version = made["metadata"]["resourceVersion"]
    guard = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    change = {"op": "replace", "path": "/data/x", "value": "2"}
    patched = await api.json_patch(CONFIGMAPS, key_of(made), [guard, change])
    assert patched["data"] == {"x": "2"}
    with pytest.raises(errors.InvalidError):
        await api.json_patch(CONFIGMAPS, key_of(made), [guard, change])
    with pytest.raises(errors.ConflictError):
        await api.merge_patch(CONFIGMAPS, key_of(made), {"metadata": {"resourceVersion": version}, "data": {"x": "3"}})
    assert (await api.get(CONFIGMAPS, key_of(made)))["data"] == {"x": "2"}


async def test_deletion_holds_to_its_preconditions(api: ApiClient, namespace: str) -> None:
    made = await api.create(CONFIGMAPS, configmap(namespace))
    with pytest.raises(errors.ConflictError):
        await api.delete(CONFIGMAPS, key_of(made), uid="another")
    with pytest.raises(errors.ConflictError):
        await api.delete(CONFIGMAPS, key_of(made), resource_version="1")
    await api.delete(CONFIGMAPS, key_of(made), uid=uid_of(made))
    with pytest.raises(errors.NotFoundError):
        await api.delete(CONFIGMAPS, key_of(made))


async def test_an_unscheduled_pod_without_grace_is_gone_at_once(api: ApiClient, namespace: str) -> None:
    made = await api.create(PODS, pod(namespace))
    await api.delete(PODS, key_of(made), grace_seconds=0)
    with pytest.raises(errors.NotFoundError):
        await api.get(PODS, key_of(made))


async def test_reviews_are_created_and_answered(api: ApiClient, namespace: str) -> None:
    token = {"apiVersion": TOKENREVIEWS.api_version, "kind": "TokenReview", "spec": {"token": "forged"}}
    assert not (await api.create(TOKENREVIEWS, token))["status"].get("authenticated")
    for user, allowed in [("nobody", False), ("system:kube-controller-manager", True)]:
        spec = {"user": user, "resourceAttributes": {"namespace": namespace, "verb": "get", "resource": "secrets"}}
        review = {"apiVersion": SUBJECTACCESSREVIEWS.api_version, "kind": "SubjectAccessReview", "spec": spec}
        assert (await api.create(SUBJECTACCESSREVIEWS, review))["status"]["allowed"] is allowed


async def test_a_kind_that_is_not_served_is_not_found(api: ApiClient) -> None:
    with pytest.raises(errors.NotFoundError):
        await api.list(Resource("example.com", "v1", "Thing", "things"))


async def test_the_namespace_must_be_there(api: ApiClient) -> None:
    with pytest.raises(errors.NotFoundError, match="nowhere"):
        await api.create(
            SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "nowhere", "name": "a"}}
        )


async def test_an_overloaded_server_is_asked_again(proxied: tuple[Proxy, ApiClient], namespace: str) -> None:
    proxy, api = proxied
    proxy.faults = [Fault(429, headers={"Retry-After": "1"})]
    await api.create(CONFIGMAPS, configmap(namespace, x="1"))
    assert len(proxy.seen) == 2


async def test_an_overloaded_server_is_left_alone_if_it_asks_for_long(proxied: tuple[Proxy, ApiClient]) -> None:
    proxy, api = proxied
    proxy.faults = [Fault(429, headers={"Retry-After": "60"})]
    with pytest.raises(errors.TooManyRequestsError) as caught:
        await api.list(CONFIGMAPS)
    assert caught.value.retry_after == 60
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("committed", [True, False])
async def test_a_write_without_an_answer_has_an_unknown_outcome_and_is_not_repeated(
    proxied: tuple[Proxy, ApiClient], namespace: str, committed: bool
) -> None:
    proxy, api = proxied
    proxy.faults = [Fault(lose="answer" if committed else "request")]
    with pytest.raises(errors.UnknownOutcomeError):
        await api.apply(CONFIGMAPS, configmap(namespace))
    assert len(proxy.seen) == 1
    found = await api.list(CONFIGMAPS, namespace=namespace, label_selector="made-by=test")
    assert len(found.items) == int(committed)


async def test_a_slow_write_has_an_unknown_outcome(proxied: tuple[Proxy, ApiClient], namespace: str) -> None:
    proxy, api = proxied
    proxy.flowing.clear()
    with pytest.raises(errors.UnknownOutcomeError):
        await api.apply(CONFIGMAPS, configmap(namespace))


@pytest.mark.parametrize(("fault", "kind"), [(Fault(503), errors.ServerError), (Fault(302), errors.ApiError)])
async def test_a_read_that_fails_says_so(
    proxied: tuple[Proxy, ApiClient], fault: Fault, kind: type[errors.ApiError]
) -> None:
    proxy, api = proxied
    proxy.faults = [fault]
    with pytest.raises(kind) as caught:
        await api.list(CONFIGMAPS)
    assert caught.value.status == fault.status


async def test_a_server_that_is_not_there_is_unreachable_for_reads_and_writes(namespace: str) -> None:
    async with aiohttp.ClientSession() as session:
        api = ApiClient("http://127.0.0.1:1", session)
        with pytest.raises(errors.UnreachableError):
            await api.get(CONFIGMAPS, (namespace, "a"))
        with pytest.raises(errors.UnreachableError):
            await api.apply(CONFIGMAPS, configmap(namespace))


async def test_concurrency_is_bounded(connection: Connection) -> None:
    async with running(connection) as (proxy, url), aiohttp.ClientSession() as session:
        api = ApiClient(url, session, concurrency=3)
        proxy.flowing.clear()
        tasks = [asyncio.create_task(api.get(CONFIGMAPS, ("default", "kube-root-ca.crt"))) for _ in range(10)]
        await eventually(lambda: len(proxy.seen) == 3)
        await asyncio.sleep(0.2)  # time in which a fourth would come
        assert len(proxy.seen) == 3
        proxy.flowing.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(proxy.seen) == 10
