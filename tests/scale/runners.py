"""The programs of fake pods: for each, the runner's own server at the pod's address, with an agent of a few lines."""

import asyncio
import uuid
from contextlib import AsyncExitStack

import aiohttp

from agentsession.kube.objects import KubeObject, uid_of
from agentsession_runner.auth import CallVerifier, KeySource
from agentsession_runner.journal import Journal
from agentsession_runner.protocol import PORT
from agentsession_runner.server import Server
from agentsession_runner.session import Session
from tests.sessions.standins import Agent, serving


class Runners:
    """By pod uid. Agents answer once `free` is set."""

    def __init__(self, http: aiohttp.ClientSession, egress_url: str) -> None:
        self.free = asyncio.Event()
        self.agents: dict[str, Agent] = {}
        """Those of pods that are gone too: what each was asked is never forgotten."""
        self._keys = KeySource(http, egress_url)
        self._stacks: dict[str, AsyncExitStack] = {}

    async def start(self, pod: KubeObject) -> None:
        """Serve for that pod, if nobody does yet."""
        uid = uid_of(pod)
        if uid in self.agents:
            return
        agent = self.agents[uid] = Agent(free=self.free)
        conversation = Session(Journal(), check_disk=lambda: None)

        async def connect() -> Agent:
            return agent

        stack = self._stacks[uid] = AsyncExitStack()
        talk = asyncio.create_task(conversation.run(str(uuid.uuid4()), connect))
        stack.callback(talk.cancel)
        app = Server(conversation, CallVerifier(self._keys, uid)).app()
        await stack.enter_async_context(serving(app, pod["status"]["podIP"], PORT))

    async def stop(self, uid: str) -> None:
        """The pod is gone."""
        if (stack := self._stacks.pop(uid, None)) is not None:
            await stack.aclose()

    async def close(self) -> None:
        """All pods are gone."""
        for uid in list(self._stacks):
            await self.stop(uid)
