"""Suspend and resume against a real API server, with the runner's own server at the other end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from agentsession.api.session import AgentSession
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.resource import AGENTSESSIONS, CONFIGMAPS
from agentsession.resources.names import GRANT_ANNOTATION
from agentsession.sessions.turns import GO_ON
from agentsession_runner.protocol import ENV_RESUME, ENV_SESSION_ID
from tests.kube.faults import Lose
from tests.kube.proxy import running

from .inprocess import SECONDS, Place, World, leading, serve_kinds, surrounded
from .standins import Agent, DeafSession

pytestmark = pytest.mark.apiserver


async def wants(world: Place, session: AgentSession, suspend: bool) -> None:
    await world.api.merge_patch(AGENTSESSIONS, session.key, {"spec": {"suspend": suspend}})


async def until(world: Place, session: AgentSession, holds: Callable[[AgentSession], bool]) -> AgentSession:
    async with asyncio.timeout(SECONDS):
        while not holds(now := await world.now(session)):
            await asyncio.sleep(0.02)
    return now


async def asked(agent: Agent) -> None:
    async with asyncio.timeout(SECONDS):
        while not agent.asked:
            await asyncio.sleep(0.02)


async def suspended(world: Place, session: AgentSession) -> AgentSession:
    await wants(world, session, True)
    now = await until(world, session, lambda now: now.status.phase == "Suspended")
    assert await world.pod(session) is None
    return now


def container(pod: Any) -> dict[str, Any]:
    made: dict[str, Any] = pod["spec"]["containers"][0]
    return made


def states(session: AgentSession) -> list[tuple[str, str]]:
    return [(turn.id, turn.state) for turn in session.status.turns]


async def test_a_session_that_is_cut_off_goes_on_and_ends_with_an_answer(world: World) -> None:
    await world.tenant(workspace={})
    session = await world.session()
    first_pod = (await world.made(session))["metadata"]["uid"]
    await asked(first := await world.run(session))
    world.egress.bills(session, requests=2, output=7)
    held = await suspended(world, session)
    assert states(held) == [("prompt", "Interrupted")]
    assert (held.status.pod_name, held.status.usage and held.status.usage.output_tokens) == (None, 7)

    await wants(world, session, False)
    pod = await world.made(session)
    mounts = {mount["name"]: mount.get("subPath") for mount in container(pod)["volumeMounts"]}
    assert (mounts["workspace"], mounts["config"]) == (f"w-{first_pod}", f"c-{first_pod}")
    assert {"name": ENV_RESUME, "value": held.status.session_id} in container(pod)["env"]
    second = await world.run(session)
    second.free.set()
    done = await world.says(session, "Completed")
    assert (first.asked, second.asked) == (["hello"], [GO_ON])
    assert (done.status.start_type, done.status.session_id) == ("Resumed", held.status.session_id)
    assert done.status.workspace == held.status.workspace
    assert done.status.result is not None
    assert done.status.result.text == GO_ON.upper()
    await world.told(session, "Connected", "Suspended", "Completed")


async def test_a_session_that_is_held_takes_no_slot_and_starts_when_it_is_let(world: World) -> None:
    await world.tenant(sessions={"maxConcurrent": 1})
    held = await world.session("a", suspend=True)
    await until(world, held, lambda now: now.status.phase == "Suspended")
    other = await world.session("b")
    await world.made(other)
    await wants(world, held, False)
    await world.says(held, "TenantAtCapacity")
    (await world.run(other)).free.set()
    await world.says(other, "Completed")
    agent = await world.run(held)
    agent.free.set()
    assert (await world.says(held, "Completed")).status.start_type == "Cold"
    assert agent.asked == ["hello"]


async def test_a_suspended_session_frees_its_slot_and_waits_for_one_again(world: World) -> None:
    await world.tenant(workspace={}, sessions={"maxConcurrent": 1})
    session = await world.session("a", lifecycle="LongRunning")
    (await world.run(session)).free.set()
    await until(world, session, lambda now: now.status.phase == "Idle")
    waiting = await world.session("b")
    await world.says(waiting, "TenantAtCapacity")
    await suspended(world, session)
    await world.made(waiting)
    await wants(world, session, False)
    now = await world.says(session, "TenantAtCapacity")
    assert states(now) == [("prompt", "Completed")]


async def test_without_a_workspace_it_goes_on_and_says_so(world: World) -> None:
    await world.tenant()
    session = await world.session()
    agent = await world.run(session)
    await world.says(session, "Connected")
    await wants(world, session, True)
    told = await until(world, session, lambda now: "NoWorkspace" in str(now.status.conditions))
    assert (told.status.phase, states(told)) == ("Running", [("prompt", "Running")])
    agent.free.set()
    await world.says(session, "Completed")
    assert agent.asked == ["hello"]


async def test_follow_ups_that_are_added_meanwhile_are_asked_later(world: World) -> None:
    await world.tenant(workspace={})
    session = await world.session(lifecycle="LongRunning")
    (await world.run(session)).free.set()
    await until(world, session, lambda now: now.status.phase == "Idle")
    await suspended(world, session)
    follow_ups = {"spec": {"followUps": [{"id": "a", "prompt": "more"}], "suspend": False}}
    await world.api.merge_patch(AGENTSESSIONS, session.key, follow_ups)
    second = await world.run(session)
    second.free.set()
    talked = await until(world, session, lambda now: now.status.turns_completed == 2)
    assert second.asked == ["more"]
    assert [turn.text for turn in talked.status.turns] == ["HELLO", "MORE"]


async def test_what_was_never_asked_is_asked_after_the_resume_under_the_id_that_was_told(world: World) -> None:
    """The prompt is told in status, and its delivery fails until somebody suspends the session."""
    await world.tenant(workspace={})
    source = {"configMapKeyRef": {"name": "prompts", "key": "first"}}
    metadata = {"name": "prompts", "namespace": world.namespace}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"first": "from the map"}}
    await world.api.create(CONFIGMAPS, body)
    session = await world.session(prompt=None, promptFrom=source)
    first = await world.run(session, DeafSession)
    told = await world.says(session, "Connected")
    assert states(told) == [("prompt", "Running")]
    held = await suspended(world, session)
    assert (states(held), first.asked) == ([], [])
    await wants(world, session, False)
    pod = await world.made(session)
    assert {"name": ENV_SESSION_ID, "value": held.status.session_id} in container(pod)["env"]
    second = await world.run(session)
    second.free.set()
    done = await world.says(session, "Completed")
    assert second.asked == ["from the map"]
    assert done.status.turns[0].uuid == told.status.turns[0].uuid


async def test_a_suspended_session_can_be_deleted(world: World) -> None:
    await world.tenant(workspace={})
    session = await world.session()
    await asked(await world.run(session))
    await suspended(world, session)
    await world.api.delete(AGENTSESSIONS, session.key)
    async with asyncio.timeout(SECONDS):
        while (await world.api.list(AGENTSESSIONS, namespace=world.namespace)).items:
            await asyncio.sleep(0.02)
    assert await world.pod(session) is None


@pytest.fixture
async def place(api: ApiClient, namespace: str) -> AsyncIterator[Place]:
    """A tenant with a workspace, and no operator yet."""
    await serve_kinds(api)
    async with surrounded(api, namespace) as made:
        await made.tenant(workspace={})
        yield made


LOSSES = pytest.mark.parametrize("lose", ["request", "answer"])


@asynccontextmanager
async def doomed(connection: Connection, place: Place, write: int, lose: Lose) -> AsyncIterator[asyncio.Event]:
    """An operator that dies at its nth write from now; tells when it is dead."""
    async with (
        running(connection) as (proxy, url),
        aiohttp.ClientSession() as http,
        leading(place, ApiClient(url, http), epoch=2),
    ):
        proxy.crash_at(write, lose=lose)
        yield proxy.crashed


@LOSSES
@pytest.mark.parametrize("write", range(1, 5))
async def test_an_operator_that_dies_while_it_suspends_loses_nothing(
    place: Place, connection: Connection, write: int, lose: Lose
) -> None:
    session = await place.session()
    async with leading(place, place.api):
        agent = await place.run(session)
        await asked(agent)
    place.egress.bills(session, requests=2, output=7)
    async with doomed(connection, place, write, lose) as dead:
        await wants(place, session, True)
        await dead.wait()
    async with leading(place, place.api, epoch=3):
        held = await until(place, session, lambda now: now.status.phase == "Suspended")
    assert (states(held), agent.asked) == ([("prompt", "Interrupted")], ["hello"])
    usage = held.status.usage
    assert usage is not None
    assert (usage.requests, usage.output_tokens, usage.estimated) == (2, 7, False)


@LOSSES
@pytest.mark.parametrize("write", range(1, 4))
async def test_an_operator_that_dies_while_it_resumes_doubles_nothing(
    place: Place, connection: Connection, write: int, lose: Lose
) -> None:
    session = await place.session()
    async with leading(place, place.api):
        await asked(await place.run(session))
        held = await suspended(place, session)
    async with doomed(connection, place, write, lose) as dead:
        await wants(place, session, False)
        await dead.wait()
    async with leading(place, place.api, epoch=3):
        async with asyncio.timeout(SECONDS):
            while GRANT_ANNOTATION not in (await place.made(session))["metadata"].get("annotations", {}):
                await asyncio.sleep(0.02)
        agent = await place.run(session)
        agent.free.set()
        done = await place.says(session, "Completed")
    assert agent.asked == [GO_ON]
    assert done.status.session_id == held.status.session_id
