"""The wire between the control side and a runner; both import this module, and it imports neither.

    POST /v1/bind       BindRequest   -> State    idempotent by session, as its prompt is by uuid; another session: 409
    POST /v1/prompt     PromptRequest -> State    deduplicated by uuid
    GET  /v1/state?after=N&wait=S     -> State    returns when revision > N, or after S seconds (at most 30)
    GET  /v1/events?after=N           -> text/event-stream of Event
    POST /v1/interrupt                -> State    ends the running turn
    POST /v1/drain                    -> State    at once; then no more prompts, the running turn is interrupted and
                                                  the agent ended. The last State stays to be read until SIGTERM
    GET  /healthz                                 no token
    GET  /readyz                                  no token; 200 once the agent is connected

Every other call carries `Authorization: Bearer` with an EdDSA token of the control side that names the audience
CALL_AUDIENCE, pod UID, slot, session UID and action, and expires within a minute. Errors are ErrorBody.
Whatever a runner answers may be the agent's word: see the client in the control side for what is done about that.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PORT = 8700
READY_PATH = "/readyz"
CALL_AUDIENCE = "agentsession/call"
IDENTITY_AUDIENCE = "agentsession-egress"
"""Audience of the projected service account token that the init container exchanges."""

Action = Literal["bind", "prompt", "state", "events", "interrupt", "drain"]
RunnerPhase = Literal["Starting", "Ready", "Busy", "Draining", "Failed"]
"""Busy: what runners of the version before this one say for Ready while a turn runs."""
TurnPhase = Literal["Running", "Completed", "Failed", "Interrupted"]
"""Interrupted: a drain came before the answer. A prompt that the agent had not been given yet is no turn any more."""

MAX_TEXT = 16 * 1024
"""Characters of an answer that a State carries."""
CONVERSATION_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
"""It becomes an argument of the CLI when the conversation is resumed."""

ENV_OPTIONS = "AGENTSESSION_OPTIONS"
ENV_POD_UID = "AGENTSESSION_POD_UID"
ENV_EGRESS_URL = "AGENTSESSION_EGRESS_URL"
ENV_FORBIDDEN = "AGENTSESSION_FORBIDDEN"
"""address:port pairs, comma-separated, that a contained pod must not reach. No names: a runner has no DNS."""
ENV_HOST_IP = "AGENTSESSION_HOST_IP"
"""The node's address; its kubelet port (10250) is forbidden too."""
ENV_RESUME = "AGENTSESSION_RESUME"
"""Id of the conversation to take up, whose transcript is in the configuration folder. Unset: a fresh one."""
ENV_SESSION_ID = "AGENTSESSION_SESSION_ID"
"""Id of the fresh conversation, if one was told before anything was asked. Unset: the runner chooses."""

WORKSPACE_VOLUME = "/workspace"
CONFIG_VOLUME = "/config"
TMP_VOLUME = "/tmp"  # noqa: S108
SERVICE_ACCOUNT_TOKEN = "/var/run/agentsession/token"  # noqa: S105
"""Projected service account token, in the init container only."""
TERMINATION_LOG = "/root/termination-log"
"""Where the runner's own last words would go: nobody but root may enter that folder. The file is the kubelet's and no
limit of the pod counts it, so an agent that could write it could fill the node's disk."""

EXIT_BAD_ENVIRONMENT = 2
"""Exit code of either container when one of ENV_* is missing or wrong; the termination message names it."""
EXIT_NOT_CONTAINED = 3
"""Exit code of the init container when the pod still reaches what it must not; the termination message says what."""
EXIT_NO_IDENTITY = 4
"""Exit code of the init container when the egress plane gave no identity; the termination message says why."""
EXIT_TERMINATED = 143
"""Exit code of the runner when SIGTERM has ended it. Not 0: the kubelet forgets why it ended a pod, as in an eviction,
if all its containers then end with 0, and calls it Succeeded."""
EXIT_BAD_VOLUME = 5
"""Exit code of the init container when a volume cannot be written; the termination message says which."""


class Wire(BaseModel):
    """Unknown fields are ignored, so that either side may be newer."""

    model_config = ConfigDict(extra="ignore", cache_strings="keys")


class McpServer(Wire):
    """A stdio MCP server."""

    command: str
    args: list[str] = []


class Subagent(Wire):
    """An agent that the main one may delegate to."""

    description: str
    prompt: str
    tools: list[str] | None = None
    model: str | None = None
    max_turns: int | None = None


class AgentOptions(Wire):
    """What the user chose of the agent; handed to the runner in ENV_OPTIONS as JSON before it knows its session."""

    model: str
    system_prompt: str | None = None
    tools: list[str]
    allowed_tools: list[str] = []
    disallowed_tools: list[str] = []
    permission_mode: Literal["acceptEdits", "bypassPermissions", "dontAsk", "plan"] = "dontAsk"
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    mcp_servers: dict[str, McpServer] = {}
    output_schema: dict[str, object] | None = None
    subagents: dict[str, Subagent] = {}


class PromptRequest(Wire):
    """One prompt."""

    uuid: str = Field(max_length=64, description="Chosen by the control side; a second delivery is ignored.")
    text: str = Field(max_length=200_000)


class BindRequest(Wire):
    """Binds the runner to the session that its grant names."""

    session_uid: str = Field(max_length=64)
    prompt: PromptRequest | None = Field(default=None, description="To be asked at once.")


class TurnState(Wire):
    """A prompt and its answer. Text and reason stand until the next prompt: whoever gives that one has read them."""

    uuid: str = Field(max_length=64)
    phase: TurnPhase
    text: str = Field(default="", max_length=MAX_TEXT)
    truncated: bool = False
    reason: str = Field(default="", max_length=512, description="Why it failed or was interrupted, one line.")


class State(Wire):
    """All that a runner says of itself."""

    revision: int = Field(ge=0, lt=2**63, description="Grows with every change.")
    phase: RunnerPhase
    session_uid: str | None = Field(default=None, max_length=64)
    session_id: str | None = Field(
        default=None, pattern=CONVERSATION_ID, description="Id of the conversation in its transcript."
    )
    turns: list[TurnState] = Field(default=[], max_length=128)
    message: str = Field(default="", max_length=512, description="Why the phase is Failed, one line.")


class Event(Wire):
    """One step of a turn, for people who watch."""

    id: int
    turn: str | None = Field(default=None, max_length=64, description="Uuid of the prompt.")
    kind: Literal["text", "tool", "result", "notice"]
    text: str = Field(max_length=4096)


class ErrorBody(Wire):
    """Why a call was refused."""

    error: str = Field(max_length=512)
