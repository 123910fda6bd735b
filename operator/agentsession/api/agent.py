"""The agent of a session: a closed list of what a user may choose; everything else is fixed by the runner."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .base import SpecModel, rule
from .tenant import ModelId, ShortName

Tool = Literal["Agent", "Bash", "Edit", "Glob", "Grep", "NotebookEdit", "Read", "Write"]
"""Built-in tools that make sense in a runner. Cron, wake-up, peer-message and web tools are not among them:
they would start turns that nobody asked for, reach another session, or the network."""

Effort = Literal["low", "medium", "high", "xhigh", "max"]
ToolRule = Annotated[str, Field(min_length=1, max_length=512)]
DEFAULT_TOOLS: list[Tool] = ["Bash", "Edit", "Glob", "Grep", "Read", "Write"]


class McpServer(SpecModel):
    """An MCP server that the CLI starts in the runner and talks to over stdio."""

    name: ShortName
    command: str = Field(min_length=1, max_length=1024, description="Program in the runner's image.")
    args: list[Annotated[str, Field(max_length=4096)]] = Field(default=[], max_length=64, description="Its arguments.")


class Subagent(SpecModel):
    """An agent that the main agent may delegate to; needs the tool Agent."""

    name: ShortName
    description: str = Field(min_length=1, max_length=1024, description="When the main agent should use it.")
    prompt: str = Field(min_length=1, max_length=16384, description="Its system prompt.")
    tools: list[Tool] | None = Field(
        default=None,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="Its tools; unset: those of the session.",
    )
    model: ModelId | None = Field(default=None, description="Its model; unset: the session's.")
    max_turns: int | None = Field(
        default=None, ge=1, le=1000, description="Model requests that one delegation may take."
    )


class OutputFormat(SpecModel):
    """Asks for a final answer that is JSON of this schema."""

    json_schema: dict[str, Any] = Field(
        min_length=1,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        description="JSON Schema of the answer; an object type.",
    )


class Agent(SpecModel):
    """What the agent is and may do inside its box."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "!has(self.subagents) || size(self.subagents) == 0 || (has(self.tools) && 'Agent' in self.tools)",
                    "subagents need the tool Agent: add Agent to agent.tools",
                )
            ]
        }
    )

    model: ModelId = Field(description="Model id; must be in the tenant's provider.models.")
    system_prompt: str | None = Field(default=None, max_length=32768, description="System prompt; unset: none.")
    tools: list[Tool] = Field(
        default=DEFAULT_TOOLS,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="Built-in tools that exist for the agent. An empty list leaves it none.",
    )
    allowed_tools: list[ToolRule] = Field(
        default=[],
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description='Tool rules that need no permission, such as "Bash" or "Bash(ls:*)".',
    )
    disallowed_tools: list[ToolRule] = Field(
        default=[],
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="Tool rules that are refused whatever else allows them.",
    )
    permission_mode: Literal["acceptEdits", "bypassPermissions", "dontAsk", "plan"] = Field(
        default="dontAsk",
        description="What becomes of a tool call that no rule decides, since nobody is there to ask. dontAsk refuses.",
    )
    effort: Effort | None = Field(default=None, description="Reasoning effort; unset: the model's default.")
    mcp_servers: list[McpServer] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="MCP servers that run inside the runner.",
    )
    output_format: OutputFormat | None = Field(default=None, description="Structure of the final answer.")
    subagents: list[Subagent] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="Agents to delegate to.",
    )
