"""AgentTenant: the platform's object. Who pays, which models may be used, where sessions keep their files."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from .base import NOT_OBSERVED, Condition, KubeModel, SpecModel, StatusModel
from .rules import Unique, immutable
from .values import BaseUrl, Bytes, DataKey, ModelId, ObjectName, ShortName


class SecretKeyRef(SpecModel):
    """One key of a Secret in the tenant's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field(default="api-key", description="Key in the Secret's data.")


class Provider(SpecModel):
    """The model provider and the credential that pays."""

    credential_secret_ref: SecretKeyRef = Field(
        description="Secret with the provider's API key. It never enters a runner: the egress plane reads it, if a "
        "RoleBinding in this namespace lets it, and sends it only to the hosts in the Secret's annotation "
        "agentsession.io/hosts."
    )
    base_url: BaseUrl = Field(
        default="https://api.anthropic.com",
        alias="baseURL",
        description="Scheme, host and port of the Messages API. The installer lists the ones that may be used.",
    )
    models: Annotated[list[ModelId], Unique()] = Field(
        min_length=1,
        max_length=64,
        description="Model ids that the tenant's sessions may use.",
    )


class Workspace(SpecModel):
    """A volume that keeps the sessions' files. Without it, files live and die with the pod."""

    storage_class_name: ObjectName | None = Field(
        default=None, description="StorageClass of the claim; unset: the cluster's default."
    )
    size: Bytes = Field(default="10Gi", description="Size of the claim, shared by the tenant's sessions.")
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteOnce",
        description="ReadWriteOnce pins all of the tenant's runners to one node; ReadWriteMany does not.",
    )
    retain: Literal["Delete", "Retain"] = Field(
        default="Retain", description="What becomes of the claim when the AgentTenant is deleted."
    )


class TenantSessions(SpecModel):
    """Bounds on the tenant's sessions taken together."""

    max_concurrent: int = Field(
        default=10,
        ge=1,
        le=10000,
        description="Sessions that may have a runner at one time; further ones wait, oldest first.",
    )


class SharedPools(SpecModel):
    """Consent to runners in namespaces of others."""

    namespaces: Annotated[list[ShortName], Unique()] = Field(
        default=[],
        max_length=64,
        description="Namespaces whose shared AgentPools may serve the tenant's sessions. A session's prompts and files "
        "are then in a pod there, open to whoever may exec into pods of that namespace.",
    )


class AgentTenantSpec(SpecModel):
    """What the platform grants a tenant."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                immutable("workspace", "a bound volume cannot change; make a new AgentTenant for new sessions")
            ]
        }
    )

    provider: Provider = Field(description="Model provider, credential and models.")
    workspace: Workspace | None = Field(default=None, description="Volume for the sessions' files.")
    sessions: TenantSessions = Field(
        default_factory=TenantSessions, json_schema_extra={"default": {}}, description="Bounds on sessions."
    )
    shared_pools: SharedPools = Field(
        default_factory=SharedPools,
        json_schema_extra={"default": {}},
        description="Which shared AgentPools its sessions may use; withdrawn, what runs there ends.",
    )


class AgentTenantStatus(StatusModel):
    """What the operator and the egress plane found."""

    observed_generation: int = NOT_OBSERVED
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class AgentTenant(KubeModel):
    """Who pays for sessions in this namespace, and what they may use."""

    spec: AgentTenantSpec
    status: AgentTenantStatus = AgentTenantStatus()
