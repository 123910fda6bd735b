"""One search finds all lines about a session."""

import asyncio
import io
import json
import logging

import pytest

from agentsession_runner import logs

pytestmark = pytest.mark.unit


async def test_lines_carry_what_their_task_is_about() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.JsonLines())
    logger = logging.Logger("test")
    logger.addHandler(handler)

    async def work(uid: str) -> None:
        logs.about(session=uid)
        await asyncio.sleep(0)
        logger.info("worked")
        await asyncio.create_task(listen())

    async def listen() -> None:
        logger.info("heard")

    await asyncio.gather(work("a"), work("b"))
    logger.info("nobody's")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert sorted((line["message"], line.get("session")) for line in lines if line["message"] != "nobody's") == [
        ("heard", "a"),
        ("heard", "b"),
        ("worked", "a"),
        ("worked", "b"),
    ]
    assert "session" not in lines[-1]
