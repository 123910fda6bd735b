"""The runner's container: a server that listens at once, and an agent process that connects beside it.

It ends by SIGTERM, which drains it first. After a drain that the control side has asked for it stays, so
that its last word can be read for as long as there is the pod. It does not know its session's lifecycle, so it does not
end by itself after an answer; the pod's activeDeadlineSeconds bounds what nobody ends. Only one that waits in a pool
ends with its agent: nobody would read its last word, and its place would stay taken.
"""

import asyncio
import logging
import signal
import uuid
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from . import logs
from .absent import absent
from .auth import CallVerifier, KeySource
from .folders import check_transcript, forget_earlier_agents, probe
from .identity import keep_renewed, read_token
from .journal import Journal
from .layout import Layout
from .server import Server
from .session import Session
from .settings import Settings

if TYPE_CHECKING:
    from .agent import SdkAgent

SHUTDOWN_TIMEOUT = 1.0
"""Seconds for the last answers to be sent."""

log = logging.getLogger(__name__)


async def serve(settings: Settings, layout: Layout, host: str | None, port: int) -> None:
    """Serve one session until it is drained. `port` 0 takes a free one; the log says which. Raises UnfitError."""
    identity = read_token(layout.identity_token)
    session = Session(Journal(), check_disk=lambda: probe(layout.claude))
    told_to_end = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, _end, session, told_to_end)
    async with aiohttp.ClientSession() as http:
        verifier = CallVerifier(KeySource(http, settings.egress_url), settings.pod_uid)
        listener = await _listen(Server(session, verifier).app(), host, port)
        try:
            async with asyncio.TaskGroup() as tasks:
                conversation = tasks.create_task(_converse(session, settings, layout))
                if settings.resume is None and settings.session_id is None:
                    conversation.add_done_callback(lambda _: _end_unused(session, told_to_end))
                naming = tasks.create_task(_name_session(session.journal))
                renewal = tasks.create_task(keep_renewed(http, settings.egress_url, layout.identity_token, identity))
                await session.end_requested.wait()
                log.info("draining")
                await session.drain()
                log.info("drained")
                for task in (conversation, naming, renewal):
                    task.cancel()
                await told_to_end.wait()
        finally:
            session.journal.close()
            await listener.cleanup()


def _end(session: Session, told_to_end: asyncio.Event) -> None:
    session.request_end()
    told_to_end.set()


def _end_unused(session: Session, told_to_end: asyncio.Event) -> None:
    """After its agent, if that was connected and no session had come yet."""
    state = session.journal.state
    if state.phase == "Failed" and state.session_id is not None and state.session_uid is None:
        log.error("the agent process ended before a session came: %s", state.message)
        _end(session, told_to_end)


async def _name_session(journal: Journal) -> None:
    """A runner serves one session in its life: from the moment that it is told, every line is about that one."""
    state = journal.state
    while state.session_uid is None:
        state = await journal.state_after(state.revision)
    logs.always(session=state.session_uid)
    log.info("bound")


async def _listen(app: web.Application, host: str | None, port: int) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    log.info("listening on port %d", runner.addresses[0][1])
    return runner


async def _converse(session: Session, settings: Settings, layout: Layout) -> None:
    session_id = settings.resume or settings.session_id or str(uuid.uuid4())

    async def connect() -> "SdkAgent":
        await asyncio.to_thread(forget_earlier_agents, layout.claude, layout.home)
        if settings.resume is not None:
            await asyncio.to_thread(check_transcript, layout.claude, settings.resume)
        agent = await asyncio.to_thread(_new_agent, settings, layout, session_id)
        await agent.connect()
        log.info("connected")
        return agent

    await session.run(session_id, connect)


def _new_agent(settings: Settings, layout: Layout, session_id: str) -> "SdkAgent":
    """Import the SDK, which takes 0.1 s of CPU, in a thread: the server answers meanwhile."""
    with absent("jsonschema", "mcp"):
        from .agent import SdkAgent  # noqa: PLC0415
        from .options import sdk_options  # noqa: PLC0415

    resume = settings.resume is not None
    return SdkAgent(sdk_options(settings.options, layout, settings.egress_url, session_id, resume=resume))
