"""What a hostile agent would try. Each attack stands beside the same request that is honest, and passes."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import aiohttp
import pytest

from agentsession.egress.directory import Directory
from agentsession.keys.call import usage_call
from devcluster.scripted.server import Scripted

from . import build
from .conftest import HEADERS, from_address, prompt, until
from .plane import Plane

pytestmark = pytest.mark.unit


async def ask(session: aiohttp.ClientSession, **headers: str) -> tuple[int, str]:
    """One honest request; the answer's status, and why it was refused."""
    async with session.post("/v1/messages", json=prompt("hello"), headers=headers) as answer:
        told = await answer.json()
        return answer.status, "" if answer.status == 200 else told["error"]["message"]


async def assert_honest(agent: aiohttp.ClientSession, model: Scripted) -> None:
    """The control: without the attack the request passes."""
    before = len(model.records.records())
    assert await ask(agent) == (200, "")
    assert len(model.records.records()) == before + 1


async def test_an_identity_is_worthless_at_another_address(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    await assert_honest(agent, model)
    async with from_address(plane, "127.0.0.2") as thief:
        status, why = await ask(thief, **{"x-forwarded-for": build.ADDRESS, "forwarded": f"for={build.ADDRESS}"})
    assert (status, "another address" in why) == (403, True)
    assert len(model.records.records()) == 1


FORGERIES = {
    "absent": "",
    "nonsense": "sk-ant-api03-x",
    "signed by a stranger": build.identity().sign(build.STRANGER, build.NOW)[0],
    "signed by the operator": build.identity().sign(build.OPERATOR, build.NOW)[0],
    "expired": build.identity().sign(build.EGRESS, build.NOW - timedelta(hours=2))[0],
    "not meant as an identity": build.EGRESS.sign({**build.identity().model_dump(), "aud": "x", "exp": 9999999999}),
    "without an end": build.EGRESS.sign({**build.identity().model_dump(), "aud": "agentsession/identity"}),
    "a call token": usage_call(build.OPERATOR, build.NOW),
    "a grant": build.grant().sign(build.OPERATOR),
    "the tenant's own key": build.KEY,
}


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES.keys())
@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
async def test_a_forged_identity_is_refused_before_anything_is_looked_up(
    plane: Plane,
    agent: aiohttp.ClientSession,
    model: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    header: str,
) -> None:
    await assert_honest(agent, model)
    looked: list[object] = []
    monkeypatch.setattr(plane.directory.pods, "by_uid", looked.append)
    value = f"Bearer {token}" if header == "authorization" else token
    async with aiohttp.ClientSession(plane.url, headers=HEADERS | {header: value}) as forger:
        status, _ = await ask(forger)
    assert status == 401
    assert looked == []
    assert len(model.records.records()) == 1


ENDED = {
    "finished": build.session(status=build.finished()),
    "being deleted": build.session(deletionTimestamp="2026-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("ended", ENDED.values(), ids=ENDED.keys())
async def test_an_identity_ends_with_its_session(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted, ended: object
) -> None:
    await assert_honest(agent, model)
    assert isinstance(ended, dict)
    plane.set_session({**ended, "metadata": {**ended["metadata"], "resourceVersion": build.next_version()}})
    status, why = await ask(agent)
    assert (status, why) == (403, "AgentSession team/a has ended")
    assert len(model.records.records()) == 1


GRANTS = {
    "copied from another pod": (build.grant("b").sign(build.OPERATOR), "another pod"),
    "hand-written": (build.grant().sign(build.STRANGER), "not the operator's"),
    "absent": (None, "serves no session"),
}


@pytest.mark.parametrize(("annotation", "says"), GRANTS.values(), ids=GRANTS.keys())
async def test_only_the_operators_grant_counts(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted, annotation: str | None, says: str
) -> None:
    await assert_honest(agent, model)
    labels = {"agentsession.io/session-uid": "session-a"}
    plane.directory.pods.store.observe("MODIFIED", build.pod(annotation=annotation, labels=labels))
    status, why = await ask(agent)
    assert (status, says in why) == (403, True)
    assert len(model.records.records()) == 1


RAW = json.dumps(prompt("hello"))
PATHS = [
    ("POST", "/v1/files"),
    ("POST", "/v1/messages/batches"),
    ("POST", "/v1/complete"),
    ("GET", "/v1/messages"),
    ("PUT", "/v1/messages"),
    ("GET", "/v1/models"),
    ("POST", "/v1/messages/"),
    ("POST", "//v1/messages"),
    ("POST", "/v1/messages/../files"),
    ("GET", "/v1/report"),
    ("GET", "/metrics"),
    ("CONNECT", "api.anthropic.com:443"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_nothing_else_is_there(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted, method: str, path: str
) -> None:
    await assert_honest(agent, model)
    port = int(plane.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(build.ADDRESS, port)
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {build.token()}\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(RAW)}\r\n\r\n{RAW}".encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert int(answer.split()[1]) in (400, 404, 405)
    assert len(model.records.records()) == 1


async def test_an_absolute_uri_names_no_other_upstream(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    """A proxy request for somebody else's host is at most one for the tenant's own provider."""
    port = int(plane.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(build.ADDRESS, port)
    head = "POST http://evil.example/v1/messages HTTP/1.1\r\nHost: evil.example\r\nanthropic-version: 2023-06-01\r\n"
    head += f"Content-Type: application/json\r\nx-api-key: {build.token()}\r\n"
    head += f"Connection: close\r\nContent-Length: {len(RAW)}\r\n\r\n"
    writer.write((head + RAW).encode())
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    hosts = {value for record in model.records.records() for name, value in record.headers if name == "Host"}
    assert hosts == {model.url.removeprefix("http://")}


async def test_a_replica_that_is_behind_lets_nobody_in(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    await assert_honest(agent, model)
    plane.fresh = False
    async with agent.post("/v1/messages", json=prompt("hello")) as answer:
        assert answer.status == 503
        assert "retry-after" in answer.headers
    assert len(model.records.records()) == 1


def finish(world: Directory) -> None:
    world.sessions.store.observe("MODIFIED", build.session(status=build.finished()))


def change_provider(world: Directory, **change: object) -> None:
    """The tenant as it is, but for some fields of its provider."""
    (before,) = world.tenants.store
    provider = {**before["spec"]["provider"], **change}
    metadata = {**before["metadata"], "generation": 2, "resourceVersion": build.next_version()}
    world.tenants.store.observe("MODIFIED", {**before, "metadata": metadata, "spec": {"provider": provider}})


CHANGED = "the tenant's provider was changed"
ENDS: dict[str, tuple[Callable[[Directory], object], str]] = {
    "session finished": (finish, "AgentSession team/a has ended"),
    "session deleted": (
        lambda world: world.sessions.store.observe("DELETED", build.session()),
        "does not exist any more",
    ),
    "pod deleted": (lambda world: world.pods.store.observe("DELETED", build.pod()), "does not exist"),
    "tenant deleted": (
        lambda world: world.tenants.store.observe("DELETED", build.tenant()),
        "AgentTenant team/default",
    ),
    "model withdrawn": (lambda world: change_provider(world, models=["other-model"]), CHANGED),
    "provider moved": (lambda world: change_provider(world, baseURL="https://elsewhere.example"), CHANGED),
    "key replaced": (lambda world: change_provider(world, credentialSecretRef={"name": "other"}), CHANGED),
}


@pytest.mark.parametrize(("end", "says"), ENDS.values(), ids=ENDS.keys())
async def test_an_open_stream_ends_with_what_it_rests_on(
    plane: Plane, agent: aiohttp.ClientSession, end: Callable[[Directory], object], says: str
) -> None:
    async with agent.post("/v1/messages", json=prompt("[[hang: after=4]]", stream=True)) as answer:
        seen = b""
        while seen.count(b"\n\n") < 4:
            seen += await answer.content.readany()
        assert len(plane.calls) == 1
        end(plane.directory)
        plane.calls.wake()
        async with asyncio.timeout(2):
            rest = (await answer.content.read()).decode()
    assert rest.startswith("event: error\ndata: ")
    assert rest.endswith("\n\n")
    assert says in json.loads(rest.partition("data: ")[2])["error"]["message"]
    assert len(plane.calls) == 0
    assert plane.usage().meter.estimated


async def test_a_client_that_does_not_read_cannot_hold_its_stream_open(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    async with agent.post("/v1/messages", json=prompt("[[stream: events=200000]]", stream=True)):
        await until(lambda: model.records.records()[0].events > 10_000)
        finish(plane.directory)
        plane.calls.wake()
        async with asyncio.timeout(2):
            await until(lambda: not plane.calls)


async def test_an_answer_that_has_not_begun_ends_with_its_session(
    plane: Plane, agent: aiohttp.ClientSession, model: Scripted
) -> None:
    asking = asyncio.create_task(ask_hanging(agent))
    await until(model.records.records)
    plane.directory.pods.store.observe("DELETED", build.pod())
    async with asyncio.timeout(2):
        status, _ = await asking
    assert status == 403


async def ask_hanging(session: aiohttp.ClientSession) -> tuple[int, str]:
    """A request that the model never answers."""
    async with session.post("/v1/messages", json=prompt("[[hang]]")) as answer:
        return answer.status, await answer.text()


async def test_a_stream_goes_on_when_its_tenant_gets_more(plane: Plane, agent: aiohttp.ClientSession) -> None:
    async with agent.post("/v1/messages", json=prompt("[[slow: 0.05]] [[stream: events=20]]", stream=True)) as answer:
        await answer.content.readany()
        change_provider(plane.directory, models=[build.MODEL, "other-model", "a-third"])
        plane.calls.wake()
        rest = (await answer.content.read()).decode()
    assert "event: error" not in rest
    assert "message_stop" in rest
