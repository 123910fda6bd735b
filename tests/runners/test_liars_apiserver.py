"""The agent has replaced its runner and lies: all of them at once, beside an honest session of the same operator."""

import asyncio
import unicodedata
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from prometheus_client import REGISTRY

from agentsession.api.session import AgentSession
from agentsession.kube.resource import EVENTS
from agentsession.runners.client import MAX_BYTES
from agentsession_runner.protocol import PORT
from tests.sessions.build import CONVERSATION
from tests.sessions.inprocess import World
from tests.sessions.standins import loopback

from . import liars

pytestmark = pytest.mark.apiserver

WALL_CLOCK = 10
OUTCOMES: dict[str, str] = {
    "Forger": "Completed",
    "Refuser": "AgentFailed",
    "Impostor": "AgentFailed",
    "Failing": "AgentFailed",
    "Forgetful": "AgentFailed",
    "Fickle": "WallClockExceeded",
    "Frozen": "WallClockExceeded",
    "Dripping": "WallClockExceeded",
    "Endless": "WallClockExceeded",
    "Huge": "WallClockExceeded",
    "Elsewhere": "WallClockExceeded",
    "WebPage": "WallClockExceeded",
    "Flag": "WallClockExceeded",
}
WRITES = 6
"""Status writes that a session may cost: starting, unschedulable (there is no node) and starting again if the scheduler
comes before the pod is said to run, connected, the end, and one of usage."""


def status_writes() -> float:
    """Of all sessions, since this process began; those that came too late are repeated, and not counted."""
    labels = {"verb": "apply_status", "resource": "agentsessions", "code": "200"}
    return sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "agentsession_kube_requests_total" and labels.items() <= sample.labels.items()
    )


def texts(value: object) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


async def test_no_lie_harms_the_operator_or_another_session(world: World) -> None:
    await world.tenant(sessions={"maxConcurrent": len(OUTCOMES) + 1})
    victim = liars.Liar()
    address = loopback()
    made = {
        name: liars.Elsewhere(f"http://{address}:{PORT}/v1/state") if name == "Elsewhere" else getattr(liars, name)()
        for name in OUTCOMES
    }
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(victim.listening(address))
        before = status_writes()
        lying = dict(await asyncio.gather(*(_lie(world, stack, liar) for liar in made.values())))
        honest = await world.session("honest", limits={"wallClock": "1h"})
        agent = await world.run(honest)
        await world.says(honest, "Connected")
        agent.free.set()
        told = await world.says(honest, "Completed")
        done = dict(
            zip(lying, await asyncio.gather(*(_ended(world, session) for session in lying.values())), strict=True)
        )
        written = status_writes() - before

    assert told.status.result is not None
    assert told.status.result.text == "HELLO"
    assert told.status.timings.finished is not None
    for name in (name for name, end in OUTCOMES.items() if end == "WallClockExceeded"):
        ended = done[name].status.timings.finished
        assert ended is not None
        assert told.status.timings.finished < ended, "the honest session had to wait"
    assert victim.connections == 0, "a redirect was followed"
    assert all(liar.longest < 64 * MAX_BYTES for liar in made.values()), "more than the buffers on the way hold"
    events = (await world.api.list(EVENTS, namespace=world.namespace)).items
    shown = "".join(texts([*events, *(session.model_dump(mode="json") for session in done.values())]))
    assert {char for char in shown if unicodedata.category(char) in ("Cc", "Cf")} <= {"\n"}
    for name, session in done.items():
        usage = session.status.usage
        assert usage is not None, (name, session.status)
        assert (usage.requests, usage.output_tokens) == (2, 7), "not what the egress plane has counted"
    assert written <= WRITES * (len(OUTCOMES) + 1)
    assert {name: _reason(session) for name, session in done.items()} == OUTCOMES
    forged = done["Forger"].status
    assert forged.result is not None
    assert forged.result.text == "]0;owned[2JPaid in full.\n"
    assert [turn.id for turn in forged.turns] == ["prompt"]
    message = next(item.message for item in done["Failing"].status.conditions if item.type == "Ready")
    assert message == "the agent process ended, it says: see [31mStatus: all is well"
    assert done["Flag"].status.session_id is None
    assert done["Forger"].status.session_id == CONVERSATION


async def _lie(world: World, stack: AsyncExitStack, liar: liars.Liar) -> tuple[str, AgentSession]:
    name = type(liar).__name__
    session = await world.session(name.lower(), limits={"wallClock": f"{WALL_CLOCK}s"})
    address = loopback()
    await stack.enter_async_context(liar.listening(address))
    pod = await world.made(session)
    world.egress.bills(session, requests=2, output=7)  # not before the operator knows the session
    await world.runs(pod, address)
    return name, session


async def _ended(world: World, session: AgentSession) -> AgentSession:
    async with asyncio.timeout(3 * WALL_CLOCK):
        while (now := await world.now(session)).status.phase not in ("Succeeded", "Failed"):
            await asyncio.sleep(0.05)
    return now


def _reason(session: AgentSession) -> str:
    return next(item.reason for item in session.status.conditions if item.type == "Ready")
