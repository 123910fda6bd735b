"""Objects as the API server sends them, and the tokens that vouch for them, as short as they can be said."""

import base64
from datetime import UTC, datetime
from typing import Any

from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.egress.directory import Directory
from agentsession.keys.grant import Grant
from agentsession.keys.identity import Identity
from agentsession.keys.keyring import Keyring
from agentsession.kube.objects import KubeObject
from agentsession.resources.names import GRANT_ANNOTATION, HOSTS_ANNOTATION

NOW = datetime.now(UTC)
OPERATOR = Keyring.generate(NOW)
EGRESS = Keyring.generate(NOW)
STRANGER = Keyring.generate(NOW)
ADDRESS = "127.0.0.1"
KEY = "sk-tenant-key"
MODEL = "claude-opus-5-5"

_version = 0


def next_version() -> str:
    """A newer resourceVersion than any before: a store ignores older states."""
    global _version  # noqa: PLW0603
    _version += 1
    return str(_version)


def installation(*upstreams: str, port: int = 8080, control_port: int = 8081) -> Installation:
    """An installation that allows these upstreams."""
    return Installation.model_validate(
        {
            "name": "agentsession",
            "namespace": "agentsession-system",
            "operatorLabels": {},
            "egressServiceAccount": "agentsession-egress",
            "egress": {
                "service": "agentsession-egress",
                "port": port,
                "podLabels": {},
                "controlPort": control_port,
                "peersUrl": "http://peers:8081",
            },
            "canary": {"service": "agentsession-canary", "port": 8082},
            "upstreams": list(upstreams),
            "runner": {"image": "runner:1", "resources": {}},
        }
    )


def grant(name: str = "a", **changes: Any) -> Grant:
    """Pod `name` serves the session of the same name, of the tenant `default`."""
    said: dict[str, Any] = {
        "pod_uid": f"pod-{name}",
        "session_uid": f"session-{name}",
        "session_name": name,
        "namespace": "team",
        "tenant": "default",
        "tenant_uid": "tenant-default",
        "epoch": 1,
    }
    return Grant.model_validate(said | changes)


def identity(name: str = "a", address: str = ADDRESS) -> Identity:
    """The identity of pod `name`."""
    return Identity(pod_uid=f"pod-{name}", pod_name=name, namespace="team", address=address)


def token(name: str = "a", address: str = ADDRESS) -> str:
    """The same, signed by the egress plane and not expired."""
    return identity(name, address).sign(EGRESS, NOW)[0]


def pod(
    name: str = "a",
    *,
    annotation: str | None = "",
    addresses: tuple[str, ...] = (ADDRESS,),
    phase: str = "Running",
    **metadata: Any,
) -> KubeObject:
    """A runner pod; `annotation` is its grant's token: "" for its own, None for no grant."""
    if annotation == "":
        annotation = grant(name).sign(OPERATOR)
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"pod-{name}",
            "resourceVersion": next_version(),
            "annotations": {} if annotation is None else {GRANT_ANNOTATION: annotation},
            **metadata,
        },
        "status": {"phase": phase, "podIPs": [{"ip": address} for address in addresses]},
    }


def session(name: str = "a", *, turns: int = 200, status: dict[str, Any] | None = None, **metadata: Any) -> KubeObject:
    """An AgentSession."""
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"session-{name}",
            "resourceVersion": next_version(),
            **metadata,
        },
        "spec": {"prompt": "hello", "agent": {"model": MODEL}, "limits": {"turns": turns}},
        "status": status or {},
    }


def finished(status: str = "True") -> dict[str, Any]:
    """A session's status with the condition Finished."""
    condition = {"type": "Finished", "status": status, "reason": "Completed", "lastTransitionTime": NOW.isoformat()}
    return {"conditions": [condition]}


def tenant(
    base_url: str = "https://api.anthropic.com",
    models: tuple[str, ...] = (MODEL, "other-model"),
    pools: tuple[str, ...] = (),
    **metadata: Any,
) -> KubeObject:
    """The AgentTenant `default`; it consents to shared pools of the namespaces `pools`."""
    return {
        "metadata": {
            "name": "default",
            "namespace": "team",
            "uid": "tenant-default",
            "generation": 1,
            "resourceVersion": next_version(),
            **metadata,
        },
        "spec": {
            "provider": {"baseURL": base_url, "credentialSecretRef": {"name": "key"}, "models": list(models)},
            "sharedPools": {"namespaces": list(pools)},
        },
    }


def secret(*, hosts: str = "127.0.0.1", key: str = KEY) -> KubeObject:
    """The tenant's Secret."""
    return {
        "metadata": {"name": "key", "namespace": "team", "annotations": {HOSTS_ANNOTATION: hosts}},
        "data": {"api-key": base64.b64encode(key.encode()).decode()},
    }


def directory(
    *,
    pods: tuple[KubeObject, ...] | None = None,
    sessions: tuple[KubeObject, ...] | None = None,
    tenants: tuple[KubeObject, ...] | None = None,
) -> Directory:
    """A directory in which pod a serves session a; each kind can be given instead."""
    made = Directory()
    made.trust(OPERATOR.jwks())
    made.pods.store.replace((pod(),) if pods is None else pods, "")
    made.sessions.store.replace((session(),) if sessions is None else sessions, "")
    made.tenants.store.replace((tenant(),) if tenants is None else tenants, "")
    return made


def parsed_tenant(base_url: str = "https://api.anthropic.com") -> AgentTenant:
    """The tenant as a model."""
    return AgentTenant.model_validate(tenant(base_url))


def parsed_session(**status: Any) -> AgentSession:
    """The session as a model."""
    return AgentSession.model_validate(session(status=status))
