"""The environment of the control side: nodes, kubelets, the runners in the pods, and the agents in those.

No kubelet is mocked to test anything about kubelets. A pod's becoming ready, dying, being evicted or getting lost is a
*move of the environment*, which the state machine chooses like any other; the status that a kubelet would write is then
written. The runner in a pod is the runner's own server; the agent behind it answers when it is told to, and asks the
egress plane for leave once per prompt, from the pod's own address.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError, ConflictError, NotFoundError
from agentsession.kube.objects import KubeObject, condition_of, key_of, uid_of
from agentsession.kube.resource import PODS
from agentsession.sessions.turns import GO_ON
from agentsession_runner.auth import CallVerifier, KeySource

from . import podstatus
from .clock import Clock
from .objects import Objects, StatusError
from .plane import Plane
from .runner import Runner

NODE = "machine"
ADDRESSES = 40
"""So few that they are used again and again, as in a real cluster."""


class Nodes:
    """All of them."""

    def __init__(self, api: ApiClient, objects: Objects, plane: Plane, clock: Clock) -> None:
        self.runners: dict[str, Runner] = {}
        """By pod uid, also those whose pod object is gone."""
        self.asked: Counter[tuple[str, str]] = Counter()
        """How often an agent was given a prompt, by session and turn uuid."""
        self._prompts: dict[str, dict[str, Runner]] = defaultdict(dict)
        """Who was given each prompt, by pod uid, the latest last; by its text, which is nobody else's."""
        self._forwarded: dict[str, str] = {}
        """The pod from which the model was asked for each prompt."""
        self.answers: dict[str, str] = {}
        """What agents answered, by turn uuid."""
        self._started: set[str] = set()
        """The uids of pods that have run: none does so twice."""
        self._conversations: dict[str, str] = {}
        """Which pod has last gone on with a session's conversation, by session uid."""
        self.broken: Callable[[str], None] = lambda _: None
        self.session_of: Callable[[str], str] = lambda _: ""
        """The uid of the session that a pod was granted to."""
        self._api = api
        self._objects = objects
        self._plane = plane
        self._clock = clock
        self._http: aiohttp.ClientSession

    @asynccontextmanager
    async def working(self) -> AsyncIterator["Nodes"]:
        """Until the block is left."""
        async with aiohttp.ClientSession() as self._http:
            try:
                yield self
            finally:
                for runner in list(self.runners.values()):
                    await self.kill(runner)

    async def start(self, pod: KubeObject) -> bool:
        """Schedule it, contain it, run it. False if that cannot be any more."""
        address = self._free_address()
        if uid_of(pod) in self._started or _ended(pod) or not self._bind(pod):
            return False
        self._started.add(uid_of(pod))
        verifier = CallVerifier(KeySource(self._http, self._plane.url, asyncio.get_running_loop().time), uid_of(pod))
        runner = Runner(pod, address, verifier, self._asked)
        await runner.start()
        self.runners[uid_of(pod)] = runner
        return await self._report(pod, podstatus.running(address, self._clock.now()))

    async def probe(self, pod: KubeObject) -> None:
        """Tell whether its runner is ready, if that has changed."""
        runner = self.runners.get(uid_of(pod))
        if runner is not None and runner.ready != (condition_of(pod, "Ready")[0] == "True"):
            await self._report(pod, podstatus.probed(pod["status"], ready=runner.ready, now=self._clock.now()))

    async def fail(self, pod: KubeObject, how: podstatus.Failure) -> bool:
        """End its containers that way. What has run was contained."""
        if (how == "NotContained" and uid_of(pod) in self._started) or _ended(pod) or not self._bind(pod):
            return False
        if (runner := self.runners.get(uid_of(pod))) is not None:
            await self.kill(runner)
        return await self._report(pod, podstatus.failed(how, self._clock.now(), pod["status"].get("startTime")))

    async def stick(self, pod: KubeObject) -> bool:
        """Its image cannot be had, so far. What has run has its image."""
        if uid_of(pod) in self._started or _ended(pod) or not self._bind(pod):
            return False
        return await self._report(pod, podstatus.stuck())

    async def end(self, pod: KubeObject) -> None:
        """What the kubelet does with a pod that is being deleted."""
        if (runner := self.runners.get(uid_of(pod))) is not None:
            await self.kill(runner)
        await self.lose(pod)

    async def lose(self, pod: KubeObject) -> None:
        """The object goes without the kubelet's word, as with its node. The process may still run."""
        with suppress(NotFoundError, ConflictError):
            await self._api.delete(PODS, key_of(pod), uid=uid_of(pod), grace_seconds=0)

    async def reap(self, known: Collection[str]) -> None:
        """The nodes that were lost are off by now: what ran there for pods that nobody knows any more is gone."""
        for runner in [runner for uid, runner in self.runners.items() if uid not in known]:
            await self.kill(runner)

    def dead(self, pod: KubeObject) -> bool:
        """Whether its process is gone, and the kubelet has not told so yet."""
        return uid_of(pod) in self._started - self.runners.keys() and not _ended(pod)

    async def kill(self, runner: Runner) -> None:
        """The process is gone; see `dead`."""
        del self.runners[runner.pod_uid]
        await runner.kill()

    async def answer(self, runner: Runner, reason: str = "") -> None:
        """Have its agent ask the model once, and end its turn: well, or for that reason."""
        for uuid, text in list(runner.agent.waiting.items())[:1]:
            await self._answer(runner, uuid, text, reason)

    async def _answer(self, runner: Runner, uuid: str, text: str, reason: str) -> None:
        status = await self._ask_model(runner)
        if status != 200:
            reason = f"API error {status}"
        elif self._forwarded.setdefault(prompt := _prompt(uuid, text), runner.pod_uid) != runner.pod_uid:
            self.broken(f"pod {runner.key[1]} asks the model what another pod has asked it: {text}")
        elif runner is not next(reversed(self._prompts[prompt].values())):
            self.broken(f"pod {runner.key[1]} asks the model what another pod was given since: {text}")
        if not reason:
            self.answers[uuid] = text.upper()
        runner.agent.end_turn(uuid, reason)

    def _asked(self, runner: Runner, uuid: str, text: str) -> None:
        session, prompt = runner.bound or "", _prompt(uuid, text)
        self.asked[session, uuid] += 1
        others = self._prompts[prompt]
        moves = bool(others) and self._may_move(prompt, runner)
        if (others or self.asked[session, uuid] > 1) and not moves:
            self.broken(f"pod {runner.key[1]} was given a prompt that was given before: {text}")
        others[runner.pod_uid] = runner
        before = self._conversations.setdefault(session, runner.pod_uid)
        self._conversations[session] = runner.pod_uid
        if before != runner.pod_uid and not (runner.resumes or moves):
            self.broken(f"pod {runner.key[1]} goes on with a conversation that it does not know")
        if session != self.session_of(runner.pod_uid):
            self.broken(f"pod {runner.key[1]} is bound to {session}, granted to {self.session_of(runner.pod_uid)}")

    def _may_move(self, prompt: str, runner: Runner) -> bool:
        """What a pool's runner was given is given to another one if the model never heard of it."""
        others = self._prompts[prompt]
        warm = all(other.warm for other in others.values())
        return warm and runner.pod_uid not in others and prompt not in self._forwarded

    def _free_address(self) -> str:
        used = {runner.address for runner in self.runners.values()}
        return next(each for i in range(1, ADDRESSES) if (each := f"127.1.0.{i}") not in used)

    async def _ask_model(self, runner: Runner) -> int:
        token = self._plane.token(runner.pod_uid, runner.key, runner.address)
        connector = aiohttp.TCPConnector(local_addr=(runner.address, 0))
        async with aiohttp.ClientSession(connector=connector) as http:
            try:
                async with http.post(f"{self._plane.url}/v1/messages", headers={"x-api-key": token}) as response:
                    return response.status
            except (aiohttp.ClientError, TimeoutError):
                return 0

    def _bind(self, pod: KubeObject) -> bool:
        if pod["spec"].get("nodeName"):
            return True
        try:
            self._objects.bind(key_of(pod), uid_of(pod), NODE)
        except StatusError:
            return False
        return True

    async def _report(self, pod: KubeObject, status: dict[str, Any]) -> bool:
        try:
            await self._api.apply_status(PODS, key_of(pod), status, uid=uid_of(pod))
        except ApiError:
            return False
        return True


def _prompt(uuid: str, text: str) -> str:
    """What tells prompts apart, whatever uuid they come under."""
    return uuid if text == GO_ON else text


def _ended(pod: KubeObject) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")
