"""What a sandbox of the other contender runs: an agent that is connected before anybody asks, behind an HTTP port.

Sent to the pod as text, and run in the runner's image: it imports nothing of this project.
"""

import asyncio
import os

from aiohttp import web
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage

PORT = 8080


async def main() -> None:
    """Until the pod ends. POST / takes a prompt and returns the answer."""
    agent = ClaudeSDKClient(
        ClaudeAgentOptions(
            model=os.environ["MODEL"], setting_sources=[], strict_mcp_config=True, cwd=os.environ["HOME"]
        )
    )
    await agent.connect()

    async def ask(request: web.Request) -> web.Response:
        await agent.query(await request.text())
        answers = [item.result async for item in agent.receive_response() if isinstance(item, ResultMessage)]
        return web.Response(text=answers[-1])

    app = web.Application()
    app.router.add_post("/", ask)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", PORT).start()  # noqa: S104 -- a pod's own address
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
