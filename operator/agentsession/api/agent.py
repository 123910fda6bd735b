"""The agent of a session: a closed list of what a user may choose; everything else is fixed by the runner."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from .base import SpecModel
from .rules import Form, Unique, broken, holds
from .values import WRITTEN, ModelId, ShortName

Tool = Literal["Agent", "Bash", "Edit", "Glob", "Grep", "NotebookEdit", "Read", "Write"]
"""Built-in tools that make sense in a runner. Cron, wake-up, peer-message and web tools are not among them:
they would start turns that nobody asked for, reach another session, or the network."""

Effort = Literal["low", "medium", "high", "xhigh", "max"]
_SPECIFIER = r"(\([^\x00-\x1f\x7f]+\))?"
_BUILT_IN = "|".join(get_args(Tool))
ToolRule = Annotated[
    str,
    Field(max_length=512),
    Form(rf"^[A-Za-z][A-Za-z0-9_-]*\*?{_SPECIFIER}$", "use one tool a line, such as Bash, Bash(ls:*) or mcp__notes"),
]
AllowedTool = Annotated[
    str,
    Field(max_length=512),
    Form(
        rf"^(({_BUILT_IN}){_SPECIFIER}|mcp__[a-z0-9-]+(__[A-Za-z0-9_*-]+)?)$",
        f"no such tool: use one of {', '.join(get_args(Tool))}, with a specifier as in Bash(ls:*), or mcp__SERVER",
    ),
]
DEFAULT_TOOLS: list[Tool] = ["Bash", "Edit", "Glob", "Grep", "Read", "Write"]


COMMAND = Form(
    r"^(/[^\x00-\x1f]*|[^/\x00-\x20]+)$",
    "use a program's name or absolute path; arguments go into args, and files of the workspace are not there yet",
)


class McpServer(SpecModel):
    """An MCP server that the CLI starts in the runner and talks to over stdio."""

    name: ShortName
    command: Annotated[str, COMMAND] = Field(max_length=1024, description="Program in the runner's image.")
    args: list[Annotated[str, Field(max_length=4096)]] = Field(default=[], max_length=64, description="Its arguments.")


class Subagent(SpecModel):
    """An agent that the main agent may delegate to; needs the tool Agent."""

    name: ShortName
    description: Annotated[str, WRITTEN] = Field(max_length=1024, description="When the main agent should use it.")
    prompt: Annotated[str, WRITTEN] = Field(max_length=16384, description="Its system prompt.")
    tools: Annotated[list[Tool], Unique()] | None = Field(
        default=None, max_length=16, description="Its tools, out of those of the session; unset: all of them."
    )
    model: ModelId | None = Field(default=None, description="Its model; unset: the session's.")
    max_turns: int | None = Field(
        default=None, ge=1, le=1000, description="Model requests that one delegation may take."
    )

    @holds(
        "!has(self.tools) || !('Agent' in self.tools)",
        "a subagent cannot delegate: leave Agent out of its tools",
        field="tools",
    )
    def _does_not_delegate(self) -> bool:
        return self.tools is None or "Agent" not in self.tools


class OutputFormat(SpecModel):
    """Asks for a final answer that is JSON of this schema."""

    json_schema: dict[str, Any] = Field(
        json_schema_extra={
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"type": {"type": "string", "enum": ["object"], "description": "An answer is an object."}},
            "required": ["type"],
        },
        description="JSON Schema of the answer; an object type.",
    )

    @field_validator("json_schema")
    @classmethod
    def _of_an_object(cls, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("type") != "object":
            raise broken("type: Input should be 'object'")
        return schema


class Agent(SpecModel):
    """What the agent is and may do inside its box."""

    model: ModelId = Field(description="Model id; must be in the tenant's provider.models.")
    system_prompt: str | None = Field(default=None, max_length=32768, description="System prompt; unset: none.")
    tools: Annotated[list[Tool], Unique()] = Field(
        default=DEFAULT_TOOLS,
        max_length=16,
        description="Built-in tools that exist for the agent. An empty list leaves it none.",
    )
    allowed_tools: Annotated[list[AllowedTool], Unique()] = Field(
        default=[],
        max_length=64,
        description='Tool rules that need no permission, such as "Bash" or "Bash(ls:*)".',
    )
    disallowed_tools: Annotated[list[ToolRule], Unique()] = Field(
        default=[],
        max_length=64,
        description="Tool rules that are refused whatever else allows them.",
    )
    permission_mode: Literal["acceptEdits", "bypassPermissions", "dontAsk", "plan"] = Field(
        default="dontAsk",
        description="What becomes of a tool call that no rule decides, since nobody is there to ask. dontAsk refuses.",
    )
    effort: Effort | None = Field(default=None, description="Reasoning effort; unset: the model's default.")
    mcp_servers: Annotated[list[McpServer], Unique("name")] = Field(
        default=[],
        max_length=16,
        description="MCP servers that run inside the runner.",
    )
    output_format: OutputFormat | None = Field(default=None, description="Structure of the final answer.")
    subagents: Annotated[list[Subagent], Unique("name")] = Field(
        default=[],
        max_length=16,
        description="Agents to delegate to.",
    )

    @holds(
        "!has(self.subagents) || size(self.subagents) == 0 || (has(self.tools) && 'Agent' in self.tools)",
        "subagents need the tool Agent: add Agent to agent.tools",
        field="tools",
    )
    def _can_delegate(self) -> bool:
        return not self.subagents or "Agent" in self.tools

    @holds(
        "!has(self.subagents) || self.subagents.all(s, !has(s.tools) || s.tools.all(t, t in self.tools))",
        "a subagent's tools must be among the session's: add them to agent.tools",
        field="subagents",
    )
    def _subagents_have_no_more(self) -> bool:
        return all(set(subagent.tools or []) <= set(self.tools) for subagent in self.subagents)

    @holds(
        "!has(self.allowedTools) || self.allowedTools.all(t, !t.startsWith('mcp__') || "
        "(has(self.mcpServers) && self.mcpServers.exists(s, (t + '__').startsWith('mcp__' + s.name + '__'))))",
        "allowedTools names an MCP server that is not there: add it to mcpServers",
        field="allowedTools",
    )
    def _servers_are_there(self) -> bool:
        servers = tuple(f"mcp__{server.name}__" for server in self.mcp_servers)
        return all(f"{tool}__".startswith(servers) for tool in self.allowed_tools if tool.startswith("mcp__"))
