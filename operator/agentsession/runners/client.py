"""Calls to one runner. The process that answers may be the agent: nothing it sends may harm the operator.

No redirect is followed, nothing is decompressed, size and time are capped, control characters are taken out.
"""

import asyncio
import functools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from aiohttp.client_proto import ResponseHandler
from prometheus_client import Histogram
from pydantic import BaseModel, ValidationError

from agentsession.keys.call import runner_call
from agentsession.keys.keyring import Keyring
from agentsession.kube.errors import ExpectedError
from agentsession_runner.protocol import PORT, Action, BindRequest, PromptRequest, State

MAX_BYTES = 256 * 1024
"""Of one whole answer, as it comes over the wire: the longest state that a runner has to tell is half of it."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""C0 and C1 controls, and what turns the direction of text or hides in it."""
CALL_SECONDS = 5.0
WAIT_SECONDS = 25.0
"""How long a runner may keep a long poll open; below the protocol's 30 s."""

_SECONDS = Histogram(
    "agentsession_runner_call_seconds",
    "Time of a call to a runner, by action and outcome (ok, refused, failed); state waits for news up to 25 s.",
    ["action", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30),
)


class RunnerError(ExpectedError):
    """A runner did not answer, or not as the protocol says. One line, safe to show."""


class RunnerRefusedError(RunnerError):
    """The runner answered and refused: it serves another session, or is ending."""


@dataclass(frozen=True)
class Target:
    """A runner and the session it is called for. `port` differs from the protocol's only in tests and simulations."""

    pod_uid: str
    ip: str
    session_uid: str
    port: int = PORT


class RunnerClient:
    """Calls runners with tokens of the control side, over one shared session."""

    def __init__(self, http: aiohttp.ClientSession, keyring: Callable[[], Keyring]) -> None:
        self._http = http
        self._keyring = keyring

    async def bind(self, target: Target, prompt: PromptRequest | None = None) -> State:
        """Bind the runner to the session, and ask it a first prompt. May be repeated.

        Raises RunnerRefusedError if it serves another one or says that it was not asked, RunnerError.
        """
        state = await self._call(target, "bind", BindRequest(session_uid=target.session_uid, prompt=prompt))
        must_be_bound(state, target, prompt)
        return state

    async def prompt(self, target: Target, uuid: str, text: str) -> State:
        """Deliver a prompt. A second delivery of the same uuid does nothing. Raises RunnerError."""
        return await self._call(target, "prompt", PromptRequest(uuid=uuid, text=text))

    async def drain(self, target: Target) -> State:
        """Have the running turn cut off and the agent ended; later states say how that went. Raises RunnerError."""
        return await self._call(target, "drain", None)

    async def state(self, target: Target, after: int) -> State:
        """The state once its revision is above `after`, or as it is after WAIT_SECONDS. Raises RunnerError."""
        query = f"?after={after}&wait={int(WAIT_SECONDS)}"
        return await self._call(target, "state", None, query=query, seconds=WAIT_SECONDS + CALL_SECONDS)

    async def _call(
        self,
        target: Target,
        action: Action,
        body: BaseModel | None,
        *,
        query: str = "",
        seconds: float = CALL_SECONDS,
    ) -> State:
        began, outcome = time.monotonic(), "failed"
        try:
            state = await self._ask(target, action, body, query, seconds)
            outcome = "ok"
        except RunnerRefusedError:
            outcome = "refused"
            raise
        finally:
            _SECONDS.labels(action, outcome).observe(time.monotonic() - began)
        return state

    async def _ask(self, target: Target, action: Action, body: BaseModel | None, query: str, seconds: float) -> State:
        host = f"[{target.ip}]" if ":" in target.ip else target.ip
        token = runner_call(
            self._keyring(),
            datetime.now(UTC),
            pod_uid=target.pod_uid,
            session_uid=target.session_uid,
            action=action,
        )
        try:
            async with asyncio.timeout(seconds):
                async with self._http.request(
                    "GET" if action == "state" else "POST",
                    f"http://{host}:{target.port}/v1/{action}{query}",
                    data=body.model_dump_json().encode() if body is not None else None,
                    headers={
                        "Authorization": f"Bearer {token}",
                        "Content-Type": "application/json",
                        "Accept-Encoding": "identity",
                    },
                    allow_redirects=False,
                ) as response:
                    raw = await response.read()
                    if response.status == 409:
                        raise RunnerRefusedError(f"the runner refused {action}")
                    if response.status != 200:
                        raise RunnerError(f"the runner answered {action} with HTTP {response.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RunnerError(f"no answer to {action}: {type(error).__name__}") from error
        try:
            return _printable(State.model_validate_json(raw))
        except ValidationError:  # its text has the answer in it, which is nobody's to log
            raise RunnerError(f"the runner's answer to {action} is not of the protocol") from None


def must_be_bound(state: State, target: Target, prompt: PromptRequest | None) -> None:
    """Raises RunnerRefusedError unless that is the state of a runner that was bound so, and asked."""
    if state.session_uid != target.session_uid:
        raise RunnerRefusedError("the runner says that it serves another session")
    if prompt is not None and all(turn.uuid != prompt.uuid for turn in state.turns):
        raise RunnerRefusedError("the runner says that it was not asked")


def runner_http() -> aiohttp.ClientSession:
    """A session for calls to runners: no proxy, no cookies, no decompression, short lines, a connection for each."""
    return aiohttp.ClientSession(
        connector=_Connector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        max_line_size=8190,
        max_field_size=8190,
        timeout=aiohttp.ClientTimeout(sock_connect=2.0),
    )


class _Answer(ResponseHandler):
    """One answer of at most MAX_BYTES.

    aiohttp itself takes informational answers and chunk extensions without end, which would cost a core.
    """

    _bytes = 0

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes <= MAX_BYTES:
            super().data_received(data)
        elif self.transport is not None:
            self.transport.abort()


class _Connector(aiohttp.TCPConnector):
    def __init__(self, *, limit: int, force_close: bool) -> None:
        super().__init__(limit=limit, force_close=force_close)
        self._factory = functools.partial(self._answer)

    def _answer(self) -> ResponseHandler:
        return _Answer(self._loop)


def _printable(state: State) -> State:
    turns = [
        turn.model_copy(update={"text": printable(turn.text), "reason": printable(turn.reason).replace("\n", " ")})
        for turn in state.turns
    ]
    return state.model_copy(update={"turns": turns, "message": printable(state.message).replace("\n", " ")})


def printable(text: str) -> str:
    """The text without control characters, but for line breaks and tabs."""
    return _CONTROL.sub("", text)
