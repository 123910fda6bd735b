"""Whether a spec can ever work, and whether what it names is there."""

from agentsession.api.agent import Agent
from agentsession.api.base import condition
from agentsession.api.conditions import READY
from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.api.values import amount
from agentsession.resources.options import MAX_BYTES, options_json
from agentsession.resources.pod import runner_resources

from .observed import Observed
from .trouble import Trouble


def refusal(session: AgentSession, install: Installation) -> Trouble | None:
    """What makes the spec impossible in this installation; only a change of either helps."""
    runtime, runner = session.spec.runtime, install.runner
    if runtime.image is not None and runtime.image not in (images := [runner.image, *runner.images]):
        return Trouble(
            "ImageNotAllowed",
            f"spec.runtime.image: {runtime.image} is not among the installer's images: {', '.join(images)}",
        )
    classes = [name for name in (runner.runtime_class_name, *runner.runtime_class_names) if name]
    if runtime.runtime_class_name is not None and runtime.runtime_class_name not in classes:
        return Trouble(
            "RuntimeClassNotAllowed",
            f"spec.runtime.runtimeClassName: {runtime.runtime_class_name} is not among the installer's classes: "
            f"{', '.join(classes) or 'none are listed'}",
        )
    if (over := _over_its_limit(session, install)) is not None:
        return Trouble("RequestAboveLimit", over)
    size = len(options_json(session.spec.agent).encode())
    if size > MAX_BYTES:
        return Trouble(
            "AgentTooLarge", f"spec.agent: {size} bytes as JSON, {MAX_BYTES} are the most: shorten its prompts"
        )
    return None


def unresolved(session: AgentSession, seen: Observed) -> Trouble | None:
    """What the spec names and is missing or may not be used. The session goes on by itself once it is put right."""
    name = session.spec.tenant_ref.name
    namespace = session.metadata.namespace
    if seen.tenant_problem is not None:
        return Trouble("TenantNotReady", f"AgentTenant {name} is not ready: InvalidSpec: {seen.tenant_problem}")
    if seen.tenant is None:
        return Trouble(
            "TenantNotFound",
            f"spec.tenantRef: there is no AgentTenant {name} in namespace {namespace}: create it, or name another",
        )
    if seen.tenant.metadata.deletion_timestamp is not None:
        return Trouble("TenantNotFound", f"spec.tenantRef: AgentTenant {name} is being deleted")
    ready = condition(seen.tenant.status.conditions, READY)
    checked = ready is not None and ready.observed_generation == seen.tenant.metadata.generation
    if ready is None or not checked or ready.reason == "CredentialPending":
        return Trouble("TenantPending", f"AgentTenant {name} has not been checked yet")
    if ready.status != "True":
        return Trouble("TenantNotReady", f"AgentTenant {name} is not ready: {ready.reason}: {ready.message}")
    if (wrong := _wrong_model(session.spec.agent, seen.tenant)) is not None:
        return Trouble("ModelNotAllowed", wrong)
    if seen.prompt_problem is not None:
        return Trouble("PromptNotFound", seen.prompt_problem)
    return None


def _over_its_limit(session: AgentSession, install: Installation) -> str | None:
    """Pods are refused if they request more than they may use; either may be the installer's default."""
    resources = runner_resources(install.runner.resources, session.spec.runtime.resources)
    for name, request in resources["requests"].items():
        limit = resources["limits"].get(name)
        if limit is not None and amount(request) > amount(limit):
            field = "spec.runtime.resources"
            return (
                f"{field}.requests.{name}: {request} is above {field}.limits.{name}, {limit}: set both, limit not below"
            )
    return None


def _wrong_model(agent: Agent, tenant: AgentTenant) -> str | None:
    asked = {"spec.agent.model": agent.model} | {
        f"spec.agent.subagents[{number}].model": subagent.model
        for number, subagent in enumerate(agent.subagents)
        if subagent.model is not None
    }
    models = tenant.spec.provider.models
    for field, model in asked.items():
        if model not in models:
            return f"{field}: {model} is not a model of AgentTenant {tenant.metadata.name}: it has {', '.join(models)}"
    return None
