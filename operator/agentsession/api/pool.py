"""AgentPool: runners of one shape, their agents connected before anybody asks, for sessions to claim."""

from datetime import timedelta
from typing import Literal

from pydantic import ConfigDict, Field

from .agent import Agent
from .base import NOT_OBSERVED, Condition, KubeModel, SpecModel, StatusModel
from .rules import holds, immutable, rule
from .selector import LabelSelector
from .session import Runtime, TenantRef
from .values import DURATION, Duration, parse_duration

MOST_REPLICAS = 1000
LEAST_AGE = timedelta(minutes=1)
_NO_AGE = f"!has(self.maxAge) || !{DURATION.cel.replace('self', 'self.maxAge')}"


class PoolTemplate(SpecModel):
    """What a runner of the pool is: sessions that ask for just that are given one."""

    agent: Agent = Field(description="What the agent is and may do.")
    runtime: Runtime = Field(default_factory=Runtime, json_schema_extra={"default": {}}, description="What it runs on.")


class Scaling(SpecModel):
    """How many runners are kept ready."""

    mode: Literal["Fixed", "Auto", "External"] = Field(
        default="Fixed",
        description="Fixed: spec.replicas. Auto: what the arrival of sessions asks for, within min and max; "
        "spec.replicas is not read. External: spec.replicas within min and max, for an autoscaler that writes /scale.",
    )
    min: int = Field(default=1, ge=0, le=MOST_REPLICAS, description="Not fewer. Not read if Fixed.")
    max: int = Field(default=10, ge=0, le=MOST_REPLICAS, description="Not more. Not read if Fixed.")
    warm_percent: int = Field(
        default=95,
        ge=50,
        le=99,
        description="For Auto: so many of a hundred sessions are to find a runner ready. More cost idle runners.",
    )

    @holds(
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "min is above max: lower it, or raise max",
        field="min",
    )
    def _in_order(self) -> bool:
        return self.min <= self.max


class Update(SpecModel):
    """How runners of an older template are replaced."""

    max_unavailable: int = Field(
        default=1, ge=1, le=MOST_REPLICAS, description="Runners that may be missing at one time because of it."
    )


class Recycle(SpecModel):
    """How long a runner is kept that nobody claims."""

    max_age: Duration = Field(
        default="24h", description='Age at which an unclaimed runner is replaced, such as "12h"; 1m is the least.'
    )

    @holds(
        f"{_NO_AGE} || duration(self.maxAge) >= duration('1m')", "maxAge is too short: 1m is the least", field="maxAge"
    )
    def _old_enough(self) -> bool:
        return parse_duration(self.max_age) >= LEAST_AGE


class AllowedNamespaces(SpecModel):
    """Where the sessions may be that claim runners of a shared pool."""

    selector: LabelSelector = Field(
        description="Of namespaces, by their labels; {} selects all. Each has its name in kubernetes.io/metadata.name."
    )


class AgentPoolSpec(SpecModel):
    """Whose runners, of what shape, how many."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                immutable("tenantRef", "make a new AgentPool"),
                rule(
                    "has(self.allowedNamespaces) == has(oldSelf.allowedNamespaces)",
                    "a pool stays a tenant's or shared: make a new AgentPool",
                    fieldPath=".allowedNamespaces",
                ),
            ]
        }
    )

    tenant_ref: TenantRef | None = Field(
        default=None,
        description="Whose sessions claim them: their storage is mounted beforehand. Unset: the AgentTenant default, "
        "unless the pool is shared.",
    )
    allowed_namespaces: AllowedNamespaces | None = Field(
        default=None,
        description="Makes the pool a shared one: its runners hold nothing of a tenant before they are claimed, and "
        "sessions of these namespaces claim them whose tenants consent (AgentTenant spec.sharedPools). Works in "
        "namespaces that the installer lists.",
    )
    template: PoolTemplate = Field(description="What each runner is.")
    replicas: int = Field(
        default=1, ge=0, le=MOST_REPLICAS, description="Runners that are kept ready. A claimed one is replaced."
    )
    scaling: Scaling = Field(
        default_factory=Scaling, json_schema_extra={"default": {}}, description="Who chooses how many that are."
    )
    update: Update = Field(
        default_factory=Update, json_schema_extra={"default": {}}, description="How a change of the template spreads."
    )
    recycle: Recycle = Field(
        default_factory=Recycle, json_schema_extra={"default": {}}, description="How old an unclaimed runner grows."
    )

    @holds(
        "!has(self.tenantRef) || !has(self.allowedNamespaces)",
        "a pool is of one tenant or shared: set tenantRef or allowedNamespaces, not both",
        field="allowedNamespaces",
    )
    def _is_of_one_kind(self) -> bool:
        return self.tenant_ref is None or self.allowed_namespaces is None

    @property
    def tenant(self) -> str | None:
        """The name of its AgentTenant; None of a shared pool."""
        if self.allowed_namespaces is not None:
            return None
        return (self.tenant_ref or TenantRef()).name


class AgentPoolStatus(StatusModel):
    """What the operator found. Only it writes it."""

    observed_generation: int = NOT_OBSERVED
    replicas: int = Field(default=0, description="Unclaimed runners, ready or on their way.")
    ready_replicas: int = Field(default=0, description="Runners that a session would be given now.")
    claimed_replicas: int = Field(default=0, description="Runners of this pool that serve a session.")
    desired_replicas: int = Field(default=0, description="Unclaimed runners that the pool is to have.")
    now_serving: int | None = Field(
        default=None,
        description="Ticket of the session that is given the next runner: lower ones were served, or have left. Not "
        "set while nobody waits.",
    )
    revision: str = Field(default="", max_length=63, description="Of the template as runners are made from it now.")
    updated_replicas: int = Field(default=0, description="Unclaimed runners of that revision.")
    selector: str = Field(default="", max_length=253, description="Of the unclaimed runners, for /scale.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class AgentPool(KubeModel):
    """Runners that are kept ready for a tenant's sessions, or for those of many."""

    spec: AgentPoolSpec
    status: AgentPoolStatus = AgentPoolStatus()
