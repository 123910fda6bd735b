"""A runner in this process: its own server and session at the pod's own address, with an agent of a few lines."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from agentsession.kube.objects import KubeObject, key_of, labels_of, uid_of
from agentsession.resources.names import POOL_LABEL
from agentsession_runner.auth import CallVerifier
from agentsession_runner.journal import Journal
from agentsession_runner.protocol import ENV_RESUME, ENV_SESSION_ID, PORT
from agentsession_runner.server import Server
from agentsession_runner.session import AgentDiedError, Answer, Session, Step

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Agent:
    """Answers a prompt when it is told to."""

    def __init__(self, asked: Callable[[str, str], None]) -> None:
        self.waiting: dict[str, str] = {}
        """Prompts without an answer: text by turn uuid."""
        self._asked = asked
        self._steps: asyncio.Queue[Answer | None] = asyncio.Queue()

    def end_turn(self, uuid: str, reason: str = "") -> None:
        """Answer that prompt, or fail it for that reason; if it has ended meanwhile, nothing happens."""
        text = self.waiting.pop(uuid, None)
        if text is None:
            return
        answer = "" if reason else text.upper()
        self._steps.put_nowait(Answer(frozenset([uuid]), injected=False, text=answer, reason=reason))

    def die(self) -> None:
        """The agent process ends; the runner stays."""
        self._steps.put_nowait(None)

    async def ask(self, uuid: str, text: str) -> None:
        self._asked(uuid, text)
        self.waiting[uuid] = text

    async def steps(self) -> AsyncIterator[Step | Answer]:
        while (answer := await self._steps.get()) is not None:
            yield answer
        raise AgentDiedError("it was killed")

    async def interrupt(self) -> None:
        for uuid in list(self.waiting):
            self.end_turn(uuid, "interrupted")

    async def close(self) -> None:
        """Nothing to end."""


class Runner:
    """The process in a pod."""

    def __init__(
        self,
        pod: KubeObject,
        address: str,
        verifier: CallVerifier,
        asked: Callable[["Runner", str, str], None],
    ) -> None:
        environment = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
        self.key = key_of(pod)
        self.pod_uid = uid_of(pod)
        self.warm = POOL_LABEL in labels_of(pod)
        """Made for a pool: whom it will serve is not known yet."""
        self.resumes: str | None = environment.get(ENV_RESUME)
        """The conversation that it takes up again."""
        self._session_id = self.resumes or environment.get(ENV_SESSION_ID) or self.pod_uid
        self.address = address
        self.agent = Agent(lambda uuid, text: asked(self, uuid, text))
        self.calls = 0
        self.pending = 0
        """Calls that are not answered yet, those for the state not counted: they may wait."""
        self.losing = 0
        """How many of the next answers to calls are lost on the way."""
        self.unreachable = False
        self._session = Session(Journal(), check_disk=lambda: None)
        app = Server(self._session, verifier).app()
        app.middlewares.append(self._lose)
        self._server = web.AppRunner(app, access_log=None, shutdown_timeout=0.001, handler_cancellation=True)
        self._lives: list[asyncio.Task[None]] = []

    @property
    def bound(self) -> str | None:
        """The session that it was told to serve."""
        return self._session.journal.state.session_uid

    @property
    def ready(self) -> bool:
        """What its readiness probe says."""
        return self._session.journal.state.phase == "Ready"

    async def start(self) -> None:
        """Serve, with the agent connected."""

        async def connect() -> Agent:
            return self.agent

        await self._server.setup()
        await web.TCPSite(self._server, self.address, PORT).start()
        self._lives = [
            asyncio.create_task(self._session.run(self._session_id, connect)),
            asyncio.create_task(self._drained()),
        ]

    async def kill(self) -> None:
        """End at once."""
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await self._server.cleanup()

    async def _drained(self) -> None:
        await self._session.end_requested.wait()
        await self._session.drain()

    @web.middleware
    async def _lose(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls += 1
        if self.unreachable:
            return _broken(request)
        short = request.method == "POST"
        self.pending += short
        try:
            response = await handler(request)
        finally:
            self.pending -= short
        if self.unreachable:
            return _broken(request)
        if self.losing and request.method == "POST":
            self.losing -= 1
            return _broken(request)
        return response


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
