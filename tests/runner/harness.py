"""A runner as a local process: the real CLI and SDK, an egress plane of a few lines, the scripted model behind it."""

import asyncio
import json
import os
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
from aiohttp import web
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage

from agentsession.keys.call import runner_call
from agentsession.keys.keyring import Keyring
from agentsession_runner import protocol
from agentsession_runner.folders import make_folders
from agentsession_runner.layout import Layout
from agentsession_runner.protocol import Action, AgentOptions, Event, State
from devcluster.scripted.server import Scripted, running

REPOSITORY = Path(__file__).parents[2]
POD_UID = "9b7f6a52-6a3e-4a55-8c54-7d3c7ab00001"
SESSION_UID = "2f0c9d1e-5a1b-4e02-9f43-7d3c7ab00002"
PATIENCE = 60.0
INHERITED = {
    "PLANTED_SECRET": "must-not-reach-the-agent",
    "ANTHROPIC_API_KEY": "sk-inherited",
    "ANTHROPIC_AUTH_TOKEN": "inherited",
    "ANTHROPIC_CUSTOM_HEADERS": "x-inherited: yes",
    "ANTHROPIC_MODEL": "inherited",
    "BUN_OPTIONS": "--inherited",
    "BUN_CONFIG_FILE": "/inherited.toml",
    "CLAUDE_CONFIG_DIR": "/inherited",
    "CLAUDE_CODE_EXTRA_BODY": '{"inherited": true}',
    "CLAUDE_CODE_USE_BEDROCK": "1",
    "BASH_ENV": "/inherited.sh",
    "ENV": "/inherited.sh",
    "LD_PRELOAD": "/inherited.so",
    "NODE_EXTRA_CA_CERTS": "/inherited.pem",
    "NODE_OPTIONS": "--require /inherited.js",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    "XDG_CONFIG_HOME": "/inherited",
    **{
        name: "http://127.0.0.1:1"
        for proxy in ("http", "https", "all")
        for name in (f"{proxy}_proxy", f"{proxy}_PROXY".upper())
    },
}
"""What a pod's environment could hold: none of it may have an effect."""


def now() -> datetime:
    return datetime.now(UTC)


class Egress:
    """The part of the egress plane that a runner meets."""

    def __init__(self, model_url: str) -> None:
        self.url = ""
        self.keyring = Keyring.generate(now())
        self.healthy = True
        self.identities: list[str] = []
        self.refusals: list[web.Response] = []
        """Answers to give to the next exchanges instead of an identity."""
        self.key_fetches = 0
        self._model_url = model_url

    def app(self) -> web.Application:
        app = web.Application(client_max_size=32 << 20)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/v1/keys", self._keys)
        app.router.add_post("/v1/identity", self._identity)
        app.router.add_route("*", "/{path:.*}", self._forward)
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _keys(self, _: web.Request) -> web.Response:
        self.key_fetches += 1
        return web.json_response(self.keyring.jwks())

    async def _identity(self, request: web.Request) -> web.Response:
        self.identities.append(request.headers["Authorization"].removeprefix("Bearer "))
        if self.refusals:
            return self.refusals.pop(0)
        expires = now() + timedelta(hours=1)
        return web.json_response({"token": f"identity-{len(self.identities)}", "expires_at": expires.isoformat()})

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "connection")}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as http,
            http.request(
                request.method, self._model_url + request.path_qs, headers=headers, data=await request.read()
            ) as upstream,
        ):
            response = web.StreamResponse(status=upstream.status, headers=upstream.headers)
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            return response


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """Serve on a free loopback port; gives the URL."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def planes() -> AsyncIterator[tuple[Egress, Scripted]]:
    """An egress plane and the scripted model behind it."""
    async with running() as model:
        egress = Egress(model.url)
        async with listening(egress.app()) as egress.url:
            yield egress, model


def prepared(root: Path) -> Layout:
    """The tree as the init container leaves it."""
    layout = Layout(root)
    for folder in layout.folders:
        folder.parent.mkdir(parents=True, exist_ok=True)
    make_folders(layout.folders)
    layout.identity_token.write_text("identity-0")
    (root / "dev").mkdir(exist_ok=True)
    return layout


def environment(egress_url: str, options: AgentOptions, **more: str) -> dict[str, str]:
    """What the operator sets on a runner pod, `more` of it included, and what a process needs to start at all."""
    return {
        "PYTHONPATH": str(REPOSITORY / "runner"),
        **INHERITED,
        protocol.ENV_OPTIONS: options.model_dump_json(exclude_defaults=True),
        protocol.ENV_POD_UID: POD_UID,
        protocol.ENV_EGRESS_URL: egress_url,
        protocol.ENV_FORBIDDEN: "127.0.0.1:1",
        protocol.ENV_HOST_IP: "127.0.0.1",
        **more,
    }


class Caller:
    """Calls a runner as the operator does."""

    def __init__(self, http: aiohttp.ClientSession, url: str, keyring: Keyring) -> None:
        self.url = url
        self._http = http
        self._keyring = keyring

    def token(
        self,
        action: Action,
        *,
        pod_uid: str = POD_UID,
        session_uid: str = SESSION_UID,
        at: datetime | None = None,
        keyring: Keyring | None = None,
    ) -> str:
        return runner_call(
            keyring or self._keyring, at or now(), pod_uid=pod_uid, session_uid=session_uid, action=action
        )

    async def request(self, method: str, path: str, token: str, body: object = None) -> tuple[int, dict[str, object]]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self._http.request(method, self.url + path, headers=headers, json=body) as response:
            return response.status, await response.json()

    async def post(self, action: Action, body: object = None) -> tuple[int, dict[str, object]]:
        return await self.request("POST", f"/v1/{action}", self.token(action), body)

    async def call(self, action: Action, body: object = None) -> State:
        status, answer = await self.post(action, body)
        assert status == 200, answer
        return State.model_validate(answer)

    async def state(self, after: int = -1, wait: float = 0) -> State:
        status, answer = await self.request("GET", f"/v1/state?after={after}&wait={wait}", self.token("state"))
        assert status == 200, answer
        return State.model_validate(answer)

    async def until(self, condition: Callable[[State], bool]) -> State:
        """Poll, as the operator does, until the state is so."""
        state = await self.state()
        async with asyncio.timeout(PATIENCE):
            while not condition(state):
                state = await self.state(after=state.revision, wait=5)
        return state

    async def bind(self) -> State:
        return await self.call("bind", {"session_uid": SESSION_UID})

    async def prompt(self, text: str, prompt_uuid: str | None = None) -> str:
        """Give a prompt; returns its uuid."""
        prompt_uuid = prompt_uuid or str(uuid.uuid4())
        await self.call("prompt", {"uuid": prompt_uuid, "text": text})
        return prompt_uuid

    async def answered(self, prompt_uuid: str) -> protocol.TurnState:
        state = await self.until(lambda s: any(t.uuid == prompt_uuid and t.phase != "Running" for t in s.turns))
        return next(turn for turn in state.turns if turn.uuid == prompt_uuid)

    async def ask(self, text: str) -> protocol.TurnState:
        return await self.answered(await self.prompt(text))

    async def events_until(self, last: Callable[[Event], bool], after: int = 0) -> list[Event]:
        """The events with a higher id, up to the first that is so, which may be yet to come."""
        headers = {"Authorization": f"Bearer {self.token('events')}"}
        told = []
        async with (
            asyncio.timeout(PATIENCE),
            self._http.get(f"{self.url}/v1/events?after={after}", headers=headers) as response,
        ):
            assert response.content_type == "text/event-stream"
            async for line in response.content:
                if line.startswith(b"data: "):
                    told.append(Event.model_validate_json(line.removeprefix(b"data: ")))
                    if last(told[-1]):
                        break
        return told


class Runner(Caller):
    """A `serve` process."""

    def __init__(self, process: asyncio.subprocess.Process, http: aiohttp.ClientSession, keyring: Keyring) -> None:
        super().__init__(http, "", keyring)
        self.process = process
        self.log: list[str] = []

    async def listening(self) -> None:
        """Wait for the port; the rest of the log comes at the end."""
        assert self.process.stderr is not None
        while not self.url:
            line = (await asyncio.wait_for(self.process.stderr.readline(), PATIENCE)).decode()
            assert line, f"the runner ended: {self.log}"
            self.log.append(line)
            if match := re.search(r"listening on port (\d+)", line):
                self.url = f"http://127.0.0.1:{match[1]}"

    def cli_pid(self) -> int:
        """The agent process: the runner's only child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = [int(pid) for pid in children if b"claude" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return pid

    async def drained(self) -> State:
        """Drain; returns the last word, which stands for as long as there is the pod."""
        await self.call("drain")
        return await self.until(lambda s: all(turn.phase != "Running" for turn in s.turns))

    async def terminate(self) -> int:
        """End as the kubelet does; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@asynccontextmanager
async def serving(
    egress: Egress,
    layout: Layout,
    options: AgentOptions,
    more: Mapping[str, str] = MappingProxyType({}),
    *,
    bound: bool = True,
) -> AsyncIterator[Runner]:
    """A runner process that serves under `layout`, `more` in its environment; killed with its children at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agentsession_runner", "--root", str(layout.root),
        *("serve", "--host", "127.0.0.1", "--port", "0"),
        env=environment(egress.url, options, **more), stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    async with aiohttp.ClientSession() as http:
        runner = Runner(process, http, egress.keyring)
        try:
            await runner.listening()
            if bound:
                await runner.bind()
            yield runner
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            rest = await process.communicate()
            runner.log.append(rest[1].decode())


def bodies(model: Scripted) -> list[dict[str, Any]]:
    """The requests for messages that the model was sent."""
    return [json.loads(record.body) for record in model.records.records() if record.path == "/v1/messages"]


async def asked(model: Scripted, after: int = 0) -> None:
    """Wait until another request than the first so many has reached the model."""
    async with asyncio.timeout(PATIENCE):
        while len(bodies(model)) <= after:
            await asyncio.sleep(0.01)


def options(**changes: Any) -> AgentOptions:
    """An agent that may run Bash and write files."""
    defaults = {"model": "claude-sonnet-5", "tools": ["Bash", "Read", "Write"], "allowed_tools": ["Bash", "Write"]}
    return AgentOptions.model_validate({**defaults, **changes})


async def result(client: ClaudeSDKClient) -> ResultMessage:
    """The next one."""
    *_, last = [message async for message in client.receive_response()]
    assert isinstance(last, ResultMessage)
    return last


async def unprotected(options: ClaudeAgentOptions, prompt: str) -> ResultMessage:
    """One turn of a CLI that is not a runner's."""
    client = ClaudeSDKClient(options)
    async with asyncio.timeout(PATIENCE):
        try:
            await client.connect()
            await client.query(prompt)
            return await result(client)
        finally:
            await client.disconnect()
