"""The agent of a session's spec, as the runner's wire model."""

from agentsession.api.agent import Agent
from agentsession_runner.protocol import AgentOptions, McpServer, Subagent

MAX_BYTES = 120_000
"""Longest value of an environment variable that Linux hands to a process (MAX_ARG_STRLEN, 131,072), less a margin."""


def agent_options(agent: Agent) -> AgentOptions:
    """What ENV_OPTIONS carries."""
    return AgentOptions(
        model=agent.model,
        system_prompt=agent.system_prompt,
        tools=list(agent.tools),
        allowed_tools=agent.allowed_tools,
        disallowed_tools=agent.disallowed_tools,
        permission_mode=agent.permission_mode,
        effort=agent.effort,
        mcp_servers={server.name: McpServer(command=server.command, args=server.args) for server in agent.mcp_servers},
        output_schema=agent.output_format.json_schema if agent.output_format else None,
        subagents={
            subagent.name: Subagent(
                description=subagent.description,
                prompt=subagent.prompt,
                tools=list(subagent.tools) if subagent.tools is not None else None,
                model=subagent.model,
                max_turns=subagent.max_turns,
            )
            for subagent in agent.subagents
        },
    )


def options_json(agent: Agent) -> str:
    """The value of ENV_OPTIONS, as short as it can be."""
    return agent_options(agent).model_dump_json(exclude_defaults=True)
