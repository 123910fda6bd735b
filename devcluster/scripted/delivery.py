"""One answer on its way out: streamed or whole, as scripted, with what was served noted before it is sent."""

import asyncio
import json
from dataclasses import dataclass

from aiohttp import web

from devcluster.scripted import wire
from devcluster.scripted.record import Outcome, Record, Recorder
from devcluster.scripted.script import Fault

GARBAGE = b'event: content_block_delta\ndata: {"type": "content_bl\n\n<<<\n\n'
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@dataclass(frozen=True)
class Delivery:
    """Where one answer goes, and where what was served of it is noted. ``delay`` is in seconds per event."""

    http: web.Request
    record: Record
    recorder: Recorder
    headers: dict[str, str]
    delay: float = 0.0

    def count(self, tokens: int) -> web.Response:
        """Answer count_tokens, which is free and therefore not usage."""
        self._ended("completed", 200)
        return web.json_response({"input_tokens": tokens}, headers=self.headers)

    async def whole(self, answer: wire.Answer) -> web.Response:
        await asyncio.sleep(self.delay)
        self.recorder.served(self.record, answer.usage)
        self._ended("completed", 200)
        return web.json_response(wire.message(answer), headers=self.headers)

    async def stream(self, answer: wire.Answer, fault: Fault | None) -> web.StreamResponse:
        response = web.StreamResponse(headers=self.headers | EVENT_STREAM)
        self.record.status = 200
        await response.prepare(self.http)
        for event in wire.events(answer):
            if fault and self.record.events == fault.after:
                return await self._break(response, fault)
            await asyncio.sleep(self.delay)
            self.recorder.served(self.record, event.usage)
            self.record.events += 1
            if event.data["type"] == "message_stop":
                self._ended("completed", 200)
            await response.write(event.encode())
        await response.write_eof()
        return response

    async def fail(self, fault: Fault) -> web.Response:
        """Fail before anything of the answer goes out."""
        if fault.kind == "error":
            return self.error(fault.status, fault.type, fault.message)
        await self._silence_or_cut(fault)
        self._ended("error", 200, fault.kind)
        if fault.kind == "empty":
            return web.Response(headers=self.headers)
        return web.Response(text="<html>no answer</html>\n", content_type="text/html", headers=self.headers)

    def error(self, status: int, kind: str, message: str) -> web.Response:
        self._ended("error", status, f"{kind}: {message}")
        body = wire.error(kind, message, self.headers["request-id"])
        return web.json_response(body, status=status, headers=wire.error_headers(status) | self.headers)

    async def _break(self, response: web.StreamResponse, fault: Fault) -> web.StreamResponse:
        """Fail in the middle of the stream."""
        await self._silence_or_cut(fault)
        self._ended("error", 200, fault.type if fault.kind == "error" else fault.kind)
        data = json.dumps(wire.error(fault.type, fault.message, self.headers["request-id"])).encode()
        await response.write(b"event: error\ndata: " + data + b"\n\n" if fault.kind == "error" else GARBAGE)
        await response.write_eof()
        return response

    async def _silence_or_cut(self, fault: Fault) -> None:
        if fault.kind == "hang":
            await asyncio.Event().wait()  # until the client goes and this task is cancelled
        if fault.kind == "cut":
            self._ended("error", self.record.status, "cut")
            if self.http.transport:
                self.http.transport.close()
            raise ConnectionResetError("cut as scripted")

    def _ended(self, outcome: Outcome, status: int | None, error: str = "") -> None:
        self.record.outcome, self.record.status, self.record.error = outcome, status, error
