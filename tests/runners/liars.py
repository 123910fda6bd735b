"""Runners that the agent has replaced: what answers on the runner's port says whatever is worst for the operator.

test_liars.py shows what each would do to an operator that believes it, test_liars_apiserver.py what it does to ours.
"""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from agentsession_runner.protocol import PORT

CONVERSATION = "66666666-7777-8888-9999-000000000000"


class Liar:
    """Answers like a runner, at once and always: each prompt is answered with `answer`. Subclasses lie worse."""

    answer = "All done."
    action = ""
    connections = 0
    longest = 0
    """Bytes of the longest answer that somebody has taken."""

    def __init__(self) -> None:
        self.revision = 0
        self.turns: list[dict[str, object]] = []
        self.session_uid: str | None = None

    def state(self) -> dict[str, object]:
        """What it says of itself, in answer to every call."""
        return {
            "revision": self.revision,
            "phase": "Ready",
            "session_uid": self.session_uid,
            "session_id": CONVERSATION,
            "turns": self.turns,
        }

    def bound(self, session_uid: str) -> None:
        """Be that session's."""
        self.revision += 1
        self.session_uid = session_uid

    def prompted(self, prompt: dict[str, Any]) -> None:
        """Take a prompt, and have answered it."""
        self.revision += 1
        self.turns.append({"uuid": prompt["uuid"], "phase": "Completed", "text": self.answer})

    async def reply(self, writer: asyncio.StreamWriter) -> None:
        """Answer the call of `action`."""
        if self.action == "state" and self.revision and not self.turns:
            await asyncio.sleep(3600)
        writer.write(response(json.dumps(self.state())))

    @asynccontextmanager
    async def listening(self, address: str, port: int = PORT) -> AsyncIterator[int]:
        """Serve at that address; gives the port."""
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            self.connections += 1
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((line for line in head.split("\r\n") if line.startswith("Content-Length: ")), ": 0")
                body = await reader.readexactly(int(length.partition(": ")[2]))
                self.action = head.split(" ")[1].removeprefix("/v1/").partition("?")[0]
                if self.action == "prompt":
                    self.prompted(json.loads(body))
                elif self.action == "bind":
                    asked = json.loads(body)
                    self.bound(asked["session_uid"])
                    if asked.get("prompt"):
                        self.prompted(asked["prompt"])
                await self.reply(writer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, address, port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def response(body: str, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    """A whole answer."""
    raw = body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n{more}\r\n".encode() + raw


class Forger(Liar):
    """Says what no model said, of turns that nobody asked for too, with what a terminal would obey."""

    answer = "\x1b]0;owned\x07\x1b[2JPaid in full\u202e.\r\n"

    def state(self) -> dict[str, object]:
        stranger = {"uuid": str(uuid.uuid4()), "phase": "Completed", "text": "Never asked."}
        usage = {"requests": 0, "output_tokens": 0, "cost_usd": "0"}
        return {**super().state(), "turns": [*self.turns, stranger], "usage": usage}


class Refuser(Liar):
    """Is ready, and refuses what it is ready for."""

    def prompted(self, prompt: dict[str, Any]) -> None:
        """Forget it."""

    async def reply(self, writer: asyncio.StreamWriter) -> None:
        if self.action == "state":
            await super().reply(writer)
        else:
            writer.write(response('{"error": "no"}', "409 Conflict"))


class Impostor(Liar):
    """Says that it is another session's."""

    def bound(self, session_uid: str) -> None:
        super().bound(session_uid[::-1])


class Failing(Liar):
    """Says that its agent has died, over several lines."""

    def state(self) -> dict[str, object]:
        return {**super().state(), "phase": "Failed", "message": "see\n\x1b[31mStatus:\r all is well"}


class Forgetful(Liar):
    """Accepts what it is asked, and has never heard of it when it tells news."""

    def state(self) -> dict[str, object]:
        said = super().state()
        return said if self.action == "bind" else {**said, "revision": 2**62, "session_uid": None, "turns": []}


class Fickle(Liar):
    """Is another conversation, much later, each time that it is asked; it does not wait, and never comes to an end."""

    def __init__(self) -> None:
        super().__init__()
        self.revisions = itertools.count(0, 2**50)

    def prompted(self, prompt: dict[str, Any]) -> None:
        self.turns.append({"uuid": prompt["uuid"], "phase": "Running"})

    async def reply(self, writer: asyncio.StreamWriter) -> None:
        says = {"session_id": str(uuid.uuid4()), "revision": next(self.revisions)}
        writer.write(response(json.dumps({**self.state(), **says})))


class Raw(Liar):
    """Sends that instead of any state, once or without end."""

    raw = b""
    endless = False

    async def reply(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self.raw)
        sent = len(self.raw)
        while self.endless:
            writer.write(self.raw)
            await writer.drain()
            sent += len(self.raw)
            self.longest = max(self.longest, sent)


class Frozen(Liar):
    """Accepts, and never says a word."""

    async def reply(self, _: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)


class Dripping(Liar):
    """Says it a byte at a time."""

    async def reply(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)


class Endless(Raw):
    """Announces an answer, for ever."""

    raw = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000
    endless = True


class Huge(Raw):
    """A gigabyte."""

    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n" + b" " * 0x10000
    endless = True


class Elsewhere(Raw):
    """Sends the operator to where only the operator may go."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.raw = response("", "307 Temporary Redirect", more=f"Location: {url}\r\n")


class WebPage(Raw):
    """Not of the protocol at all."""

    raw = response("<html><script>alert(1)</script></html>", kind="text/html")


class Flag(Liar):
    """Would have its conversation be a flag of the next CLI's."""

    def state(self) -> dict[str, object]:
        return {**super().state(), "session_id": "--dangerously-skip-permissions"}
