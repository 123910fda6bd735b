"""Who may have a request forwarded: a pure decision over an identity and what the watches say.

The order matters: nothing of a pod's session is told to somebody who is not that pod.
"""

from dataclasses import dataclass

from agentsession.api.base import is_true
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.keys.grant import Grant
from agentsession.keys.identity import Identity
from agentsession.keys.keyring import InvalidTokenError
from agentsession.kube.objects import Key
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, PODS, Resource

from .directory import Directory, RunnerPod
from .refusal import Refusal


@dataclass(frozen=True)
class Served:
    """A pod, the session that it serves, and the tenant that pays."""

    pod: RunnerPod
    session: AgentSession
    tenant: AgentTenant


@dataclass(frozen=True)
class Unseen:
    """Something that a signature vouches for and that the watches have not shown; they may be a moment behind."""

    resource: Resource
    key: Key
    refusal: Refusal
    """The answer if it is not there either."""


def admit(directory: Directory, identity: Identity, peer: str) -> Served | Unseen | Refusal:
    """Whether `identity`, used from the address `peer`, may use the model route now. Its signature was checked."""
    if identity.address != peer:
        return _forbidden(f"this identity was issued to another address than {peer}")

    pod_key = (identity.namespace, identity.pod_name)
    pod = directory.pods.by_uid(identity.pod_uid)
    if pod is None or peer not in pod.addresses:
        return Unseen(PODS, pod_key, _forbidden("the pod of this identity does not exist, or has another address"))
    if pod.ending:
        return _forbidden("the pod of this identity is ending")

    try:
        grant = directory.grant(pod)
    except InvalidTokenError as error:
        return _forbidden(f"the grant of pod {pod.metadata.name} is not the operator's: {error}")
    if grant is None:
        return Unseen(PODS, pod_key, _forbidden(f"pod {pod.metadata.name} serves no session"))
    return _granted(directory, pod, grant)


def _granted(directory: Directory, pod: RunnerPod, grant: Grant) -> Served | Unseen | Refusal:
    session_key = (grant.namespace, grant.session_name)
    session = directory.sessions.by_uid(grant.session_uid)
    if session is None:
        missing = _forbidden(f"AgentSession {_name(session_key)} does not exist any more")
        return Unseen(AGENTSESSIONS, session_key, missing)
    if session.metadata.deletion_timestamp is not None or is_true(session.status.conditions, "Finished"):
        return _forbidden(f"AgentSession {_name(session_key)} has ended")
    if directory.highest_epoch(grant) > grant.epoch:
        return _forbidden(f"AgentSession {_name(session_key)} is served by a newer pod")

    tenant_key = (grant.namespace, grant.tenant)
    tenant = directory.tenants.by_key(tenant_key)
    if tenant is None or tenant.metadata.uid != grant.tenant_uid:
        missing = _forbidden(f"AgentTenant {_name(tenant_key)} does not exist any more")
        return Unseen(AGENTTENANTS, tenant_key, missing)
    if grant.place not in (grant.namespace, *tenant.spec.shared_pools.namespaces):
        return _forbidden(f"AgentTenant {_name(tenant_key)} does not consent to shared pools of {grant.place}")
    return Served(pod, session, tenant)


def _name(key: Key) -> str:
    return "/".join(key)


def _forbidden(message: str) -> Refusal:
    return Refusal(403, "permission_error", message)
