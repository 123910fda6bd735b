"""The agent's options: what the user chose, within what no user can change.

Everything here is fixed when the CLI starts. Only the four isolation switches together keep files that an agent can
write (CLAUDE.md, settings, .mcp.json, memory, agents, skills) out of the model's requests and out of the CLI's own
behaviour: no setting sources, no automatic memory, a configuration folder and a working directory of the session's own.
"""

import json
import shlex

from claude_agent_sdk import AgentDefinition, ClaudeAgentOptions
from claude_agent_sdk.types import McpStdioServerConfig

from .environment import cli_environment
from .layout import Layout
from .protocol import AgentOptions

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Longest line from the CLI. The SDK's 1 MiB ends the session when a tool returns a large image."""

NEVER_TOOLS = [
    "CronCreate",
    "CronDelete",
    "CronList",
    "ListAgents",
    "Monitor",
    "RemoteTrigger",
    "ScheduleWakeup",
    "SendMessage",
    "WebFetch",
    "WebSearch",
    "Workflow",
]
"""They start turns nobody asked for, reach other sessions, or the network; some need no permission in any mode."""


def sdk_options(
    agent: AgentOptions, layout: Layout, egress_url: str, session_id: str, *, resume: bool = False
) -> ClaudeAgentOptions:
    """The SDK's options of the conversation with the id `session_id`, a UUID: a fresh one, or one to take up."""
    return ClaudeAgentOptions(
        model=agent.model,
        system_prompt=agent.system_prompt,
        tools=agent.tools,
        allowed_tools=agent.allowed_tools,
        disallowed_tools=[*NEVER_TOOLS, *agent.disallowed_tools],
        permission_mode=agent.permission_mode,
        effort=agent.effort,
        mcp_servers={
            name: McpStdioServerConfig(type="stdio", command=server.command, args=server.args)
            for name, server in agent.mcp_servers.items()
        },
        output_format={"type": "json_schema", "schema": agent.output_schema} if agent.output_schema else None,
        agents={
            name: AgentDefinition(
                description=subagent.description,
                prompt=subagent.prompt,
                tools=subagent.tools,
                model=subagent.model,
                maxTurns=subagent.max_turns,
            )
            for name, subagent in agent.subagents.items()
        },
        session_id=None if resume else session_id,  # the CLI refuses both together
        resume=session_id if resume else None,
        cwd=layout.work,
        env=cli_environment(layout, egress_url),
        settings=json.dumps({"apiKeyHelper": f"cat {shlex.quote(str(layout.identity_token))}"}),
        setting_sources=[],
        strict_mcp_config=True,
        verbatim_prompts=True,
        max_buffer_size=MAX_MESSAGE_BYTES,
    )
