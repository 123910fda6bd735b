"""The whole process against a real API server: real tokens, real watches, real RBAC."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from agentsession.api.report import Report
from agentsession.egress import credentials, process
from agentsession.egress.admission import Unseen
from agentsession.egress.directory import Directory
from agentsession.egress.lookup import Lookup
from agentsession.egress.refusal import Refusal
from agentsession.keys.call import usage_call
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.errors import ForbiddenError
from agentsession.kube.objects import uid_of
from agentsession.kube.resource import AGENTSESSIONS, PODS, SECRETS
from agentsession.resources.grants import grant_manifest
from agentsession.resources.names import HOSTS_ANNOTATION, RUNNER_SERVICE_ACCOUNT
from agentsession_runner.protocol import IDENTITY_AUDIENCE
from devcluster.scripted.server import Scripted

from . import build
from .cluster import Cluster, egress_process, eventually, installed
from .conftest import HEADERS, prompt

pytestmark = pytest.mark.apiserver
ACCEPTED = (200, "")


@pytest.fixture
async def cluster(
    api: ApiClient, connection: Connection, control_plane: Path, namespace: str, model: Scripted
) -> AsyncIterator[Cluster]:
    """An installation whose only upstream is the scripted model."""
    async with installed(api, connection, control_plane, namespace, model.url) as made:
        yield made


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here needs time to notice."""
    monkeypatch.setattr(process, "LEAVE_SECONDS", 0.1)
    monkeypatch.setattr(process, "LAST_PULL_SECONDS", 0.1)
    monkeypatch.setattr(credentials, "UNREADY_SECONDS", 0.2)


async def exchange(cluster: Cluster, token: str, address: str = build.ADDRESS) -> tuple[int, str]:
    """The init container's call: the status, and the identity or why there is none."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(cluster.url, connector=connector) as session,
        session.post("/v1/identity", json={"slot": 0}, headers={"authorization": f"Bearer {token}"}) as answer,
    ):
        told = await answer.json()
        return answer.status, told["token"] if answer.status == 200 else told["error"]["message"]


async def ask(cluster: Cluster, identity: str) -> tuple[int, str]:
    """One model request."""
    async with (
        aiohttp.ClientSession(cluster.url, headers=HEADERS) as session,
        session.post("/v1/messages", json=prompt("[[usage: in=7 out=8]]"), headers={"x-api-key": identity}) as answer,
    ):
        told = await answer.json()
        return answer.status, "" if answer.status == 200 else told["error"]["message"]


async def is_answered(cluster: Cluster, identity: str, expected: tuple[int, str]) -> bool:
    """Whether a model request gets that answer."""
    return await ask(cluster, identity) == expected


async def is_unknown(cluster: Cluster, identity: str) -> bool:
    """Whether an identity is not renewed any more."""
    return (await exchange(cluster, identity))[0] == 403


async def report(cluster: Cluster) -> Report:
    """What the operator pulls."""
    token = usage_call(cluster.operator, datetime.now(UTC))
    async with (
        aiohttp.ClientSession(cluster.control_url) as session,
        session.get(
            "/v1/report?after=0", headers={"authorization": f"Bearer {token}"}, raise_for_status=True
        ) as answer,
    ):
        return Report.model_validate(await answer.json())


async def credential_state(cluster: Cluster, expected: str) -> str:
    """The message that comes with the state `expected`, once it is there."""
    async with asyncio.timeout(10):
        while True:
            tenants = [told for told in (await report(cluster)).tenants if told.namespace == cluster.namespace]
            if tenants and tenants[0].state == expected:
                return tenants[0].message
            await asyncio.sleep(0.05)


async def put_secret(cluster: Cluster, *, hosts: str, key: str) -> None:
    """The tenant's Secret."""
    metadata = {"name": "key", "namespace": cluster.namespace, "annotations": {HOSTS_ANNOTATION: hosts}}
    data = {"api-key": base64.b64encode(key.encode()).decode()}
    await cluster.api.apply(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


async def grant_secret(cluster: Cluster) -> None:
    """What the tenant's admin applies."""
    await cluster.apply_all(grant_manifest(cluster.installation, cluster.namespace, "key"))


async def test_from_a_service_account_token_to_an_answer_and_its_bill(cluster: Cluster, model: Scripted) -> None:
    await put_secret(cluster, hosts=build.ADDRESS, key=build.KEY)
    await grant_secret(cluster)
    tenant = await cluster.tenant(model.url)
    session = await cluster.session()
    async with egress_process(cluster):
        await credential_state(cluster, "Ready")
        pod = await cluster.pod()
        bound = await cluster.token(RUNNER_SERVICE_ACCOUNT, IDENTITY_AUDIENCE, pod)
        status, identity = await exchange(cluster, bound)
        assert status == 200, identity

        assert await ask(cluster, identity) == (403, "pod a serves no session")
        await cluster.claim(pod, session, tenant)
        # No wait: a claim that the watch has not shown yet is looked up, unless that was just done in vain.
        await eventually(lambda: is_answered(cluster, identity, ACCEPTED), seconds=3)

        status, renewed = await exchange(cluster, identity)
        assert status == 200, renewed
        assert await ask(cluster, renewed) == ACCEPTED
        (told,) = (await report(cluster)).sessions
        assert (told.session_uid, told.meter.requests) == (uid_of(session), 2)
        assert (told.meter.input_tokens, told.meter.output_tokens) == (14, 16)

        key = (cluster.namespace, "a")
        finished = {**build.finished()["conditions"][0], "message": "", "observedGeneration": 1}
        finished["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        await cluster.api.apply_status(AGENTSESSIONS, key, {"conditions": [finished]}, uid=uid_of(session))
        ended = (403, f"AgentSession {cluster.namespace}/a has ended")
        await eventually(lambda: is_answered(cluster, renewed, ended), seconds=2)

        await cluster.api.delete(PODS, key, grace_seconds=0)
        await eventually(lambda: is_unknown(cluster, renewed), seconds=2)
        assert (await exchange(cluster, bound))[0] in (401, 403)


async def test_only_a_runners_own_token_from_its_own_address_gets_an_identity(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentsession.egress.identity.PAUSE_SECONDS", 0)
    async with egress_process(cluster):
        pod = await cluster.pod()
        other = await cluster.pod("other", account="default")
        early = await cluster.pod("early", address=None)
        token = cluster.token
        good = await token(RUNNER_SERVICE_ACCOUNT, IDENTITY_AUDIENCE, pod)

        assert (await exchange(cluster, good))[0] == 200
        # The kubelet reports an address late; the identity is worthless until it does.
        assert (await exchange(cluster, await token(RUNNER_SERVICE_ACCOUNT, IDENTITY_AUDIENCE, early)))[0] == 200

        head, body, signature = good.split(".")
        forged = ".".join((head, body, signature[::-1]))
        refused = {
            "from another address": (await exchange(cluster, good, "127.0.0.2"), 403),
            "forged": (await exchange(cluster, forged), 401),
            "for the API server": (await exchange(cluster, await token(RUNNER_SERVICE_ACCOUNT, None, pod)), 401),
            "of another account": (await exchange(cluster, await token("default", IDENTITY_AUDIENCE, other)), 403),
            "of no pod": (await exchange(cluster, await token(RUNNER_SERVICE_ACCOUNT, IDENTITY_AUDIENCE)), 403),
            "nonsense": (await exchange(cluster, "nonsense"), 401),
            "absent": (await exchange(cluster, ""), 401),
        }
        assert {name: result[0] for name, (result, _) in refused.items()} == {
            name: status for name, (_, status) in refused.items()
        }
        assert (await exchange(cluster, good))[0] == 200


async def test_a_missing_secret_or_grant_is_named_and_putting_it_right_heals(cluster: Cluster, model: Scripted) -> None:
    await cluster.tenant(model.url)
    async with egress_process(cluster):
        message = await credential_state(cluster, "GrantMissing")
        account = f"{cluster.namespace}:{cluster.installation.egress_service_account}"
        assert f"kubectl -n {cluster.namespace} create role" in message
        assert f"--serviceaccount={account}" in message
        await grant_secret(cluster)
        assert f"{cluster.namespace}/key" in await credential_state(cluster, "SecretNotFound")
        await put_secret(cluster, hosts="api.anthropic.com", key="k")
        assert "must name 127.0.0.1" in await credential_state(cluster, "HostNotAllowed")
        await put_secret(cluster, hosts=build.ADDRESS, key="")
        assert "'api-key'" in await credential_state(cluster, "KeyMissing")
        await put_secret(cluster, hosts=build.ADDRESS, key=build.KEY)
        assert await credential_state(cluster, "Ready") == ""


async def test_its_account_may_do_no_more_than_it_needs(cluster: Cluster) -> None:
    pod = await cluster.pod()
    await put_secret(cluster, hosts=build.ADDRESS, key=build.KEY)
    connection = await cluster.egress_connection()
    async with connection.open() as session:
        egress = ApiClient(connection.server, session)
        assert uid_of(await egress.get(PODS, (cluster.namespace, "a"))) == uid_of(pod)
        with pytest.raises(ForbiddenError):
            await egress.get(SECRETS, (cluster.namespace, "key"))
        with pytest.raises(ForbiddenError):
            await egress.list(SECRETS, namespace=cluster.namespace)
        with pytest.raises(ForbiddenError):
            await egress.merge_patch(PODS, (cluster.namespace, "a"), {"metadata": {"labels": {"a": "b"}}})
        with pytest.raises(ForbiddenError):
            await egress.delete(PODS, (cluster.namespace, "a"))


async def test_usage_is_told_to_the_operator_alone(cluster: Cluster) -> None:
    async with egress_process(cluster), aiohttp.ClientSession(cluster.control_url) as session:
        assert (await report(cluster)).sessions == []
        for token in ("", "nonsense", usage_call(build.STRANGER, datetime.now(UTC))):
            async with session.get("/v1/report", headers={"authorization": f"Bearer {token}"}) as answer:
                assert answer.status == 401
        async with session.get("/metrics") as answer:
            assert "agentsession_egress_open_streams" in await answer.text()


async def test_an_open_stream_is_not_cut_by_a_restart(cluster: Cluster, model: Scripted) -> None:
    await put_secret(cluster, hosts=build.ADDRESS, key=build.KEY)
    await grant_secret(cluster)
    tenant = await cluster.tenant(model.url)
    pod, session = await cluster.pod(), await cluster.session()
    await cluster.claim(pod, session, tenant)
    body = prompt("[[stream: events=40 interval=0.02]]", stream=True)
    async with egress_process(cluster) as stop:
        await credential_state(cluster, "Ready")
        _, identity = await exchange(cluster, await cluster.token(RUNNER_SERVICE_ACCOUNT, IDENTITY_AUDIENCE, pod))
        async with (
            aiohttp.ClientSession(cluster.url, headers=HEADERS | {"x-api-key": identity}) as agent,
            agent.post("/v1/messages", json=body) as answer,
        ):
            await answer.content.readany()
            stop.set()
            rest = await answer.content.read()
        assert b"event: message_stop" in rest


async def test_its_last_report_says_that_all_is_counted(
    cluster: Cluster, model: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LAST_PULL_SECONDS", 10)
    await put_secret(cluster, hosts=build.ADDRESS, key=build.KEY)
    await grant_secret(cluster)
    tenant = await cluster.tenant(model.url)
    pod, session = await cluster.pod(), await cluster.session()
    await cluster.claim(pod, session, tenant)
    async with egress_process(cluster) as stop:
        await credential_state(cluster, "Ready")
        _, identity = await exchange(cluster, await cluster.token(RUNNER_SERVICE_ACCOUNT, IDENTITY_AUDIENCE, pod))
        await eventually(lambda: is_answered(cluster, identity, ACCEPTED))
        async with aiohttp.ClientSession(cluster.url, headers=HEADERS | {"x-api-key": identity}) as kept:
            async with kept.post("/v1/messages", json=prompt("hello")) as answer:
                assert answer.status == 200
            before = await report(cluster)
            stop.set()
            # Whatever asks is taken for the operator, and the process ends once that has the last word.
            while not (last := await report(cluster)).final:
                await asyncio.sleep(0.02)
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with kept.post("/v1/messages", json=prompt("hello")) as answer:
                    assert answer.status == 503, "on a connection that it still had"
    (told,) = last.sessions
    assert (before.final, told.meter.final) == (False, True)
    assert told.meter.requests == before.sessions[0].meter.requests


async def test_a_look_past_the_watch_finds_what_is_there_and_is_not_repeated(cluster: Cluster, api: ApiClient) -> None:
    directory = Directory()
    look = Lookup(api, directory)
    unseen = Unseen(PODS, (cluster.namespace, "a"), Refusal(403, "permission_error", "no"))
    assert not await look(unseen)
    pod = await cluster.pod()
    assert not await look(unseen), "asked again at once"
    assert directory.pods.by_uid(uid_of(pod)) is None
    assert await Lookup(api, directory)(unseen)
    assert directory.pods.by_uid(uid_of(pod)) is not None
