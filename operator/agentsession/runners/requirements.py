"""What has to be so for a runner of some shape: what the installer lists, what its tenant has, whom its pool admits."""

from collections.abc import Mapping

from agentsession.api.agent import Agent
from agentsession.api.base import condition, to_json
from agentsession.api.conditions import READY
from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool, PoolTemplate
from agentsession.api.session import Runtime
from agentsession.api.tenant import AgentTenant
from agentsession.api.values import amount
from agentsession.resources.options import MAX_BYTES, options_json
from agentsession.resources.pod import runner_resources
from agentsession.resources.selectors import selects

from .trouble import Trouble


def impossible(template: PoolTemplate, install: Installation, field: str) -> Trouble | None:
    """What of a runner this installation does not let it be. field: where the template stands."""
    runtime, runner = template.runtime, install.runner
    if runtime.image is not None and runtime.image not in (images := [runner.image, *runner.images]):
        return Trouble(
            "ImageNotAllowed",
            f"{field}.runtime.image: {runtime.image} is not among the installer's images: {', '.join(images)}",
        )
    classes = [name for name in (runner.runtime_class_name, *runner.runtime_class_names) if name]
    if runtime.runtime_class_name is not None and runtime.runtime_class_name not in classes:
        return Trouble(
            "RuntimeClassNotAllowed",
            f"{field}.runtime.runtimeClassName: {runtime.runtime_class_name} is not among the installer's classes: "
            f"{', '.join(classes) or 'none are listed'}",
        )
    if (over := _over_its_limit(runtime, install, f"{field}.runtime.resources")) is not None:
        return Trouble("RequestAboveLimit", over)
    size = len(options_json(template.agent).encode())
    if size > MAX_BYTES:
        return Trouble(
            "AgentTooLarge", f"{field}.agent: {size} bytes as JSON, {MAX_BYTES} are the most: shorten its prompts"
        )
    return None


def no_tenant(tenant: AgentTenant | None, problem: str | None, name: str, namespace: str) -> Trouble | None:
    """Why that AgentTenant cannot be used, if so. problem: why it cannot be read."""
    if problem is not None:
        return Trouble("TenantNotReady", f"AgentTenant {name} is not ready: InvalidSpec: {problem}")
    if tenant is None:
        return Trouble(
            "TenantNotFound",
            f"spec.tenantRef: there is no AgentTenant {name} in namespace {namespace}: create it, or name another",
        )
    if tenant.metadata.deletion_timestamp is not None:
        return Trouble("TenantNotFound", f"spec.tenantRef: AgentTenant {name} is being deleted")
    ready = condition(tenant.status.conditions, READY)
    checked = ready is not None and ready.observed_generation == tenant.metadata.generation
    if ready is None or not checked or ready.reason == "CredentialPending":
        return Trouble("TenantPending", f"AgentTenant {name} has not been checked yet")
    if ready.status != "True":
        return Trouble("TenantNotReady", f"AgentTenant {name} is not ready: {ready.reason}: {ready.message}")
    return None


def admits(pool: AgentPool, namespace: str, labels: Mapping[str, str], install: Installation) -> bool:
    """Whether sessions of that namespace, which has those labels, may use the pool. Those beside it always may."""
    if pool.metadata.namespace == namespace:
        return True
    allowed, listed = pool.spec.allowed_namespaces, pool.metadata.namespace in install.shared_pool_namespaces
    return allowed is not None and listed and selects(to_json(allowed.selector), labels)


def wrong_model(agent: Agent, tenant: AgentTenant, field: str) -> str | None:
    """Which model the tenant does not have. field: where the template stands."""
    asked = {f"{field}.agent.model": agent.model} | {
        f"{field}.agent.subagents[{number}].model": subagent.model
        for number, subagent in enumerate(agent.subagents)
        if subagent.model is not None
    }
    models = tenant.spec.provider.models
    for path, model in asked.items():
        if model not in models:
            return f"{path}: {model} is not a model of AgentTenant {tenant.metadata.name}: it has {', '.join(models)}"
    return None


def _over_its_limit(runtime: Runtime, install: Installation, field: str) -> str | None:
    """Pods are refused if they request more than they may use; either may be the installer's default."""
    resources = runner_resources(install.runner.resources, runtime.resources)
    for name, request in resources["requests"].items():
        limit = resources["limits"].get(name)
        if limit is not None and amount(request) > amount(limit):
            return (
                f"{field}.requests.{name}: {request} is above {field}.limits.{name}, {limit}: set both, limit not below"
            )
    return None
