"""The operator dies right before and right after each thing it does for a session: the next one brings it to the same
end, with one runner, and each prompt asked once. What it asks of a runner may also be lost on the way."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp.client_middlewares import ClientHandlerType

from agentsession.api.session import AgentSession
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject, labels_of
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS, NAMESPACES, PODS
from agentsession.resources.names import GRANT_ANNOTATION, RUNNER_LABEL, SESSION_LABEL
from tests.kube.proxy import running

from .inprocess import SECONDS, Place, leading, serve_kinds, surrounded
from .standins import Agent

pytestmark = pytest.mark.apiserver

Lose = Literal["request", "answer"]
WRITES = 8
"""So many writes make a session, or more: policy, account and status of its tenant, two of the pod, three of status."""
CALLS = 3
"""The same for calls to its runner: a bind and two prompts."""


class Node:
    """Starts each pod of a namespace at once, and remembers which ones there were."""

    def __init__(self, place: Place) -> None:
        self.agents: dict[str, Agent] = {}
        self.granted: set[str] = set()
        self._place = place

    async def run(self) -> None:
        """Watch and start, for ever."""
        api, namespace, selector = self._place.api, self._place.namespace, f"{RUNNER_LABEL}=true"
        found = await api.list(PODS, namespace=namespace, label_selector=selector)
        stream = api.watch(
            PODS, namespace=namespace, label_selector=selector, resource_version=found.resource_version, seconds=600
        )
        async for event in stream:
            if event is None or event["type"] not in ("ADDED", "MODIFIED"):
                continue
            metadata = event["object"]["metadata"]
            if GRANT_ANNOTATION in metadata.get("annotations", {}):
                self.granted.add(metadata["uid"])
            if metadata["uid"] not in self.agents and "deletionTimestamp" not in metadata:
                self.agents[metadata["uid"]] = agent = Agent()
                agent.free.set()
                with contextlib.suppress(NotFoundError):
                    await self._place.start(event["object"], agent)

    @property
    def asked(self) -> list[str]:
        return [text for agent in self.agents.values() for text in agent.asked]


class Calls:
    """An operator's calls to runners, one of which is lost. `last`: it is the last one, the operator dies of it."""

    def __init__(self, lost: int, lose: Lose, *, last: bool = True) -> None:
        self.made = 0
        self.crashed = asyncio.Event()
        self._lost = lost
        self._lose = lose
        self._last = last

    async def __call__(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        """Count a bind or a prompt, and lose the one or its answer."""
        if self.crashed.is_set():
            raise aiohttp.ClientConnectionError("crashed")
        self.made += request.method == "POST"
        if request.method != "POST" or self.made != self._lost:
            return await handler(request)
        if self._last:
            self.crashed.set()
        if self._lose == "answer":
            (await handler(request)).release()
        raise aiohttp.ClientConnectionError("lost")


@contextlib.asynccontextmanager
async def a_place(api: ApiClient) -> AsyncIterator[tuple[Place, Node]]:
    """A namespace with a tenant, a session and a node; nothing is left in it that a later operator would work on."""
    name = f"crash-{uuid.uuid4().hex[:8]}"
    await api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    async with surrounded(api, name) as place:
        node = Node(place)
        watching = asyncio.create_task(node.run())
        try:
            await place.tenant()
            yield place, node
        finally:
            watching.cancel()
            for resource in (AGENTSESSIONS, AGENTPOOLS, AGENTTENANTS):
                for item in (await api.list(resource, namespace=name)).items:
                    with contextlib.suppress(NotFoundError):
                        await api.delete(resource, (name, item["metadata"]["name"]))
            await api.delete(NAMESPACES, ("", name))


@dataclass(frozen=True)
class Story:
    """A session, and how one knows that all is done."""

    spec: Mapping[str, Any]
    asked: tuple[str, ...]
    done: Callable[[AgentSession, Sequence[KubeObject]], bool]
    warm: bool = False
    """Whether its runner comes from a pool."""


def _answered(now: AgentSession, pods: Sequence[KubeObject]) -> bool:
    return now.status.phase == "Succeeded" and not any(SESSION_LABEL in labels_of(pod) for pod in pods)


ONE_PROMPT = Story({}, ("hello",), _answered)
CLAIM = Story({"agent": None, "poolRef": {"name": "p", "onExhausted": "Wait"}}, ("hello",), _answered, warm=True)
TALK = Story(
    {"lifecycle": "LongRunning", "followUps": [{"id": "more", "prompt": "and more"}]},
    ("hello", "and more"),
    lambda now, _: now.status.phase == "Idle" and now.status.turns_completed == 2,
)


async def _done(place: Place, session: AgentSession, story: Story) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            while not story.done(now := await place.now(session), pods := await place.pods()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{now.status!r} {[pod['metadata'] for pod in pods]}") from None


async def _first(*awaited: Coroutine[object, object, object]) -> None:
    tasks = [asyncio.ensure_future(item) for item in awaited]
    finished, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in finished:
        task.result()


async def _converges(
    connection: Connection,
    api: ApiClient,
    story: Story,
    lose: Lose,
    *,
    write: int = 0,
    call: int = 0,
    dies: bool = True,
) -> bool:
    """Whether an operator died at that write or at that call to a runner. Another one has then done the rest."""
    async with a_place(api) as (place, node), running(connection) as (proxy, url), aiohttp.ClientSession() as http:
        calls = Calls(call, lose, last=dies)
        if write:
            proxy.crash_at(write, lose=lose)
        if story.warm:
            await place.pool(1)
        session = await place.session(**story.spec)
        async with (
            aiohttp.ClientSession(middlewares=(calls,)) as to_runners,
            leading(place, ApiClient(url, http), to_runners),
        ):
            await _first(_done(place, session, story), proxy.crashed.wait(), calls.crashed.wait())
        crashed = proxy.crashed.is_set() or calls.crashed.is_set()
        if crashed:
            async with leading(place, api, epoch=2):
                await _done(place, session, story)
        now = await place.now(session)
        turns = now.status.turns
        assert [turn.text for turn in turns] == [text.upper() for text in story.asked]
        assert tuple(node.asked) == story.asked
        assert len(node.granted) == 1
        assert now.status.start_type == ("Warm" if story.warm else "Cold")
        return crashed


@pytest.fixture(autouse=True)
async def served(api: ApiClient) -> None:
    await serve_kinds(api)


@pytest.mark.parametrize("lose", ["request", "answer"])
@pytest.mark.parametrize("story", [ONE_PROMPT, CLAIM], ids=["cold", "warm"])
async def test_a_crash_at_any_write_changes_nothing(
    connection: Connection, api: ApiClient, lose: Lose, story: Story
) -> None:
    write = 1
    while await _converges(connection, api, story, lose, write=write):
        write += 1
    assert write > WRITES


@pytest.mark.parametrize("lose", ["request", "answer"])
async def test_a_crash_at_any_call_to_a_runner_changes_nothing(
    connection: Connection, api: ApiClient, lose: Lose
) -> None:
    call = 1
    while await _converges(connection, api, TALK, lose, call=call):
        call += 1
    assert call > CALLS


@pytest.mark.parametrize("lose", ["request", "answer"])
@pytest.mark.parametrize("call", range(1, CALLS + 1))
async def test_a_call_to_a_runner_that_is_lost_is_made_again(
    connection: Connection, api: ApiClient, lose: Lose, call: int
) -> None:
    await _converges(connection, api, TALK, lose, call=call, dies=False)
