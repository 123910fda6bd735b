"""AgentSession: one conversation with one agent, from its first prompt to its result."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from .agent import Agent
from .base import NOT_OBSERVED, Condition, KubeModel, SpecModel, StatusModel, Timestamp
from .rules import Unique, holds, immutable, rule
from .values import DURATION, WRITTEN, Bytes, Cpu, DataKey, Duration, ObjectName, ShortName, parse_duration

Phase = Literal["Pending", "Starting", "Running", "Idle", "Suspending", "Suspended", "Succeeded", "Failed"]
MOST_ASKED = 131072
"""Characters of all followUps together: etcd stores 1.5 MiB of an object, and status must fit in beside the spec."""
LEAST_TIME, MOST_TIME = timedelta(seconds=10), timedelta(hours=720)
_NO_DURATION = f"!has(self.wallClock) || !{DURATION.cel.replace('self', 'self.wallClock')}"
FIRST_TURN = "prompt"
"""Turn id of spec.prompt; the other turns are named by their followUps[].id."""


class TenantRef(SpecModel):
    """The AgentTenant in the same namespace."""

    name: ShortName = Field(default="default", description="Name of the AgentTenant.")


class PoolRef(SpecModel):
    """An AgentPool of the same tenant, or a shared one."""

    name: ShortName = Field(description="Name of the AgentPool.")
    namespace: ShortName | None = Field(
        default=None,
        description="Of a shared AgentPool, if it is another one than the session's: the pool has to admit this "
        "namespace (spec.allowedNamespaces), and the tenant to consent (spec.sharedPools).",
    )
    on_exhausted: Literal["ColdStart", "Wait"] = Field(
        default="ColdStart",
        description="What to do while it has no runner ready: start one for this session alone, or wait with a ticket.",
    )


class ConfigMapKeyRef(SpecModel):
    """One key of a ConfigMap in the same namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: DataKey = Field(description="Key in its data.")


class PromptSource(SpecModel):
    """Where a prompt that is too large or too reused for the spec comes from."""

    config_map_key_ref: ConfigMapKeyRef = Field(description="Read when the first turn starts.")


class FollowUp(SpecModel):
    """A further prompt of the same conversation. Append-only: what was asked cannot be unasked."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "self.prompt == oldSelf.prompt",
                    "a follow-up cannot be changed: append another one with a new id",
                )
            ]
        }
    )

    id: ShortName = Field(description="Names the turn in status.turns.")
    prompt: Annotated[str, WRITTEN] = Field(max_length=16384, description="What is asked.")

    @holds(
        f"self.id != '{FIRST_TURN}'", f"the id '{FIRST_TURN}' names the session's first turn: use another", field="id"
    )
    def _id_is_free(self) -> bool:
        return self.id != FIRST_TURN


class Limits(SpecModel):
    """What a runaway may cost. Enforced outside the pod."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    f"{_NO_DURATION} || duration(self.wallClock) <= duration(oldSelf.wallClock)",
                    "wallClock may be lowered, not raised: a running pod's deadline cannot be extended",
                    fieldPath=".wallClock",
                )
            ]
        }
    )

    turns: int = Field(
        default=200,
        ge=1,
        le=100000,
        description="Model requests over the session's life, subagents' included, counted by the egress plane. Its "
        "replicas hear of each other within 3 s, so an agent that asks all of them at once may get some more.",
    )
    wall_clock: Duration = Field(
        default="1h",
        description='Time from the runner\'s start to its forced end, such as "90s", "30m" or "1h30m". After a '
        "suspension the next runner has it anew.",
    )

    @holds(
        f"{_NO_DURATION} || duration(self.wallClock) >= duration('10s')",
        "wallClock is too short: 10s is the least",
        field="wallClock",
    )
    def _long_enough(self) -> bool:
        return parse_duration(self.wall_clock) >= LEAST_TIME

    @holds(
        f"{_NO_DURATION} || duration(self.wallClock) <= duration('720h')",
        "wallClock is too long: 720h (30 days) is the most",
        field="wallClock",
    )
    def _short_enough(self) -> bool:
        return parse_duration(self.wall_clock) <= MOST_TIME


class ResourceAmounts(SpecModel):
    """Amounts of the three resources that a runner has."""

    cpu: Cpu | None = Field(default=None, description="CPU.")
    memory: Bytes | None = Field(default=None, description="Memory.")
    ephemeral_storage: Bytes | None = Field(
        default=None,
        alias="ephemeral-storage",
        description="Local disk: working files without a workspace, and logs.",
    )


class Resources(SpecModel):
    """Requests and limits; what is unset is the installer's default."""

    requests: ResourceAmounts | None = Field(default=None, description="What is reserved.")
    limits: ResourceAmounts | None = Field(default=None, description="What it may use at most.")


class Runtime(SpecModel):
    """What the runner runs on; each choice out of the installer's lists."""

    image: str | None = Field(
        default=None, min_length=1, max_length=512, description="Runner image; unset: the installer's."
    )
    runtime_class_name: ObjectName | None = Field(
        default=None, description="RuntimeClass, such as one of gVisor; unset: the installer's default."
    )
    resources: Resources | None = Field(default=None, description="Requests and limits.")


class AgentSessionSpec(SpecModel):
    """What is asked, of which agent, for whom, and what it may cost at most."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "!has(oldSelf.followUps) || (has(self.followUps) && "
                    "oldSelf.followUps.all(o, self.followUps.exists(n, n.id == o.id)))",
                    "followUps is append-only: put the removed ones back",
                    fieldPath=".followUps",
                ),
                *(
                    immutable(field, "make a new AgentSession")
                    for field in ("tenantRef", "poolRef", "lifecycle", "prompt", "promptFrom", "agent", "runtime")
                ),
            ]
        }
    )

    tenant_ref: TenantRef = Field(
        default_factory=TenantRef,
        json_schema_extra={"default": {}},
        description="Who pays, and what may be used.",
    )
    pool_ref: PoolRef | None = Field(
        default=None,
        description="Claim a runner that is ready, if it is made just as this session asks.",
    )
    lifecycle: Literal["Ephemeral", "LongRunning"] = Field(
        default="Ephemeral",
        description="Ephemeral ends with the answer to its prompt; LongRunning waits for followUps until it is "
        "deleted or a limit ends it.",
    )
    prompt: Annotated[str, WRITTEN] | None = Field(default=None, max_length=131072, description="What is asked first.")
    prompt_from: PromptSource | None = Field(default=None, description="Where the first prompt is read from.")
    follow_ups: Annotated[list[FollowUp], Unique("id")] = Field(
        default=[],
        max_length=64,
        description="Further prompts, in order; append to go on talking.",
    )
    agent: Agent | None = Field(
        default=None, description="What the agent is and may do; may be left to the pool, and its runtime with it."
    )
    limits: Limits = Field(
        default_factory=Limits, json_schema_extra={"default": {}}, description="What a runaway may cost."
    )
    runtime: Runtime = Field(default_factory=Runtime, json_schema_extra={"default": {}}, description="What it runs on.")
    suspend: bool = Field(
        default=False,
        description="Ends the runner and keeps files and conversation on the tenant's workspace until it is false "
        "again; the turn that it cuts off is then gone on with. Before the start: the session is held back.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31536000,
        description="Deletes the object so many seconds after it finished; unset keeps it.",
    )

    @holds("has(self.agent) || has(self.poolRef)", "set agent, or a poolRef whose template has one")
    def _has_an_agent(self) -> bool:
        return self.agent is not None or self.pool_ref is not None

    @holds("has(self.prompt) != has(self.promptFrom)", "set exactly one of prompt and promptFrom")
    def _has_one_prompt(self) -> bool:
        return (self.prompt is None) != (self.prompt_from is None)

    @holds(
        "self.lifecycle == 'LongRunning' || !has(self.followUps) || size(self.followUps) == 0",
        "an Ephemeral session ends with its first answer: followUps need lifecycle LongRunning",
        field="followUps",
    )
    def _can_follow_up(self) -> bool:
        return self.lifecycle == "LongRunning" or not self.follow_ups

    @holds(
        f"!has(self.followUps) || self.followUps.map(f, size(f.prompt)).sum() <= {MOST_ASKED}",
        f"followUps are too long together: {MOST_ASKED} characters are the most; go on in a new AgentSession",
        field="followUps",
    )
    def _leaves_room_for_status(self) -> bool:
        return sum(len(item.prompt) for item in self.follow_ups) <= MOST_ASKED


class Turn(StatusModel):
    """One prompt and its answer, as the runner reported it."""

    id: str = Field(max_length=63)
    uuid: str = Field(
        max_length=36,
        description="Id under which the agent was last asked, or asked to go on; the same after every retry.",
    )
    state: Literal["Running", "Interrupted", "Completed", "Failed"] = Field(
        description="Interrupted: cut off by spec.suspend, and gone on with when that is false again."
    )
    started: Timestamp = Field(description="When the agent was last asked, or asked to go on.")
    finished: Timestamp | None = None
    text: str = Field(default="", max_length=2048, description="Beginning of the answer, as the agent reported it.")
    reason: str = Field(default="", max_length=512, description="Why it failed.")


class Meter(StatusModel):
    """What one egress process served, since it started. Counters only grow."""

    incarnation: str = Field(max_length=63, description="Id of the egress process.")
    requests: int = 0
    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = Field(default="0", alias="costUSD", max_length=32)
    estimated: bool = Field(default=False, description="Whether some of it is an upper bound instead of a count.")
    final: bool = Field(default=False, description="Whether the process has ended, and this is all that it served.")
    settled: bool = Field(
        default=False, description="Whether no request was under way when the session ended or was last suspended."
    )


class Usage(StatusModel):
    """What the egress plane counted: requests, tokens, and their list price."""

    requests: int = 0
    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = Field(default=0, description="All of the above tokens.")
    cost_usd: str = Field(
        default="0", alias="costUSD", max_length=32, description="US dollars by list price, a decimal."
    )
    estimated: bool = Field(default=False, description="Whether some of it is an upper bound instead of a count.")
    until: Timestamp | None = Field(
        default=None, description="All that was served until then is in it. Moves only when there is something to tell."
    )
    meters: list[Meter] = Field(
        default=[],
        max_length=256,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["incarnation"]},
    )


class Result(StatusModel):
    """The last turn's answer, as the agent reported it."""

    text: str = Field(default="", max_length=16384)
    truncated: bool = False
    is_error: bool = False
    reason: str = Field(default="", max_length=512)


class Timings(StatusModel):
    """When the session reached each step."""

    requested: Timestamp | None = None
    claimed: Timestamp | None = Field(default=None, description="When a pool's runner became this session's.")
    ready: Timestamp | None = None
    first_model_request: Timestamp | None = None
    finished: Timestamp | None = None


class WorkspaceStatus(StatusModel):
    """Where the session's files are."""

    claim_name: str = Field(max_length=253, description="PersistentVolumeClaim.")
    sub_path: str = Field(
        max_length=63,
        description="Folder of the workspace in it, named by the session's first pod: w-UID; c-UID has its "
        "transcripts.",
    )


class AgentSessionStatus(StatusModel):
    """What became of it. Only the operator writes it."""

    observed_generation: int = NOT_OBSERVED
    phase: Phase = "Pending"
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    session_id: str | None = Field(default=None, max_length=64, description="Id of the conversation in its transcript.")
    pod_name: str | None = Field(default=None, max_length=63)
    pod_namespace: str | None = Field(
        default=None, max_length=63, description="Of the pod, if it is a shared pool's: not the session's own."
    )
    workspace: WorkspaceStatus | None = None
    ticket: int | None = Field(
        default=None,
        description="Its number among those that wait for a runner of its pool, given once: status.nowServing of the "
        "AgentPool says whose turn it is. Each leader of the operator begins with a million of its own.",
    )
    start_type: Literal["Cold", "Warm", "Resumed"] | None = None
    timings: Timings = Timings()
    turns: list[Turn] = Field(
        default=[],
        max_length=65,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]},
    )
    turns_completed: int = Field(default=0, description="Turns that ended, well or not.")
    usage: Usage | None = None
    result: Result | None = None


class AgentSession(KubeModel):
    """A Claude Agent SDK session: one conversation in one locked-down pod."""

    spec: AgentSessionSpec
    status: AgentSessionStatus = AgentSessionStatus()
