"""Whether a spec can ever work, and whether what it names is there."""

from pydantic import ValidationError

from agentsession.api.base import condition
from agentsession.api.conditions import READY
from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession
from agentsession.resources.options import MAX_BYTES, options_json

from .observed import Observed
from .podview import Trouble


def spec_errors(error: ValidationError) -> str:
    """One line from a validation error: fields and what is wrong with them."""
    parts = (f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in error.errors()[:5])
    return "; ".join(parts)


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
    models = [*seen.tenant.spec.provider.models]
    asked = {session.spec.agent.model, *(s.model for s in session.spec.agent.subagents if s.model is not None)}
    if missing := sorted(asked.difference(models)):
        return Trouble(
            "ModelNotAllowed",
            f"spec.agent.model: {', '.join(missing)} is not a model of AgentTenant {name}: it has {', '.join(models)}",
        )
    if seen.prompt_problem is not None:
        return Trouble("PromptNotFound", seen.prompt_problem)
    return None
