"""What the installer decided: the file that the chart renders, mounted into the operator and the egress plane."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from .base import SpecModel
from .session import Resources

MOST_SHARDS = 8


class Endpoint(SpecModel):
    """A Service of this installation that runners meet."""

    service: str = Field(description="Name of the Service in the installation's namespace.")
    port: int = Field(ge=1, le=65535)


class EgressEndpoint(Endpoint):
    """The egress plane: what runners may reach, and nothing else."""

    pod_labels: dict[str, str] = Field(description="Labels of its pods, for the runners' NetworkPolicy.")
    control_port: int = Field(description="Port on which the operator pulls usage.")
    peers_url: str = Field(description="URL whose host resolves to every egress process, e.g. of a headless Service.")


class RunnerDefaults(SpecModel):
    """What a session gets that does not choose, and what it may choose from."""

    image: str
    images: list[str] = Field(default=[], description="Further images that sessions may name.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    runtime_class_name: str | None = None
    runtime_class_names: list[str] = Field(default=[], description="Further classes that sessions may name.")
    resources: Resources
    host_users: bool | None = Field(
        default=None, description="False puts runners into user namespaces; unset: the cluster's default."
    )
    network_policies: list[str] = Field(
        default=[], description="Names of NetworkPolicies that may widen what runners reach."
    )
    grace_seconds: int = Field(default=30, ge=5, le=300, description="Time to drain after SIGTERM.")


class Installation(SpecModel):
    """One install per cluster."""

    name: str = Field(description="Release name: prefix of the Lease, Secrets and ConfigMap.")
    namespace: str
    shards: int = Field(
        default=1, ge=1, le=MOST_SHARDS, description="Leaders of the operator, each of a part of the namespaces."
    )
    operator_labels: dict[str, str] = Field(
        description="Labels of the operator's pods, for the runners' NetworkPolicy."
    )
    egress_service_account: str
    egress: EgressEndpoint
    canary: Endpoint = Field(description="A listener that a contained runner cannot reach.")
    upstreams: list[str] = Field(
        description="Base URLs (scheme, host, port) that tenants may name as provider.baseURL."
    )
    runner: RunnerDefaults
    shared_pool_namespaces: list[str] = Field(default=[], description="Namespaces in which AgentPools may be shared.")

    @classmethod
    def load(cls, path: Path) -> "Installation":
        """Read the YAML file. Raises pydantic.ValidationError naming the wrong field."""
        return cls.model_validate(yaml.safe_load(path.read_text()))
