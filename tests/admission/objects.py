"""What attackers send, as short as it can be said."""

import itertools
from typing import Any

from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.kube.objects import uid_of
from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, PODS
from agentsession.resources.names import MEMBERSHIP_ANNOTATION, RUNNER_LABEL
from agentsession.resources.network import network_policy
from agentsession.resources.pod import session_pod, warm_pod
from agentsession.resources.release import release_patch
from agentsession.resources.tenancy import service_account
from agentsession.sessions.offer import template_of
from tests.sessions.build import tenant
from tests.sessions.inprocess import SURROUNDINGS

from .cluster import Callers, installation

Object = dict[str, Any]
USER = 123_456
_numbers = itertools.count()


def name(prefix: str = "x") -> str:
    """A name that no other object of the test run has."""
    return f"{prefix}-{next(_numbers)}"


async def runner(callers: Callers, namespace: str, **spec: Any) -> Object:
    """The operator's pod for a new session, by the operator's builder. Its session exists, or it would be collected."""
    made = AgentSession.model_validate(await callers.admin.create(AGENTSESSIONS, agent_session(namespace, **spec)))
    template = template_of(made, None)
    assert template is not None
    pod: Object = session_pod(made, template, tenant(), installation(), SURROUNDINGS, USER)
    return pod


async def waiting(callers: Callers, namespace: str, of: AgentTenant | None = None) -> Object:
    """The operator's pod for a new pool, created, with the operator's word on it. of: whose storage it mounts."""
    body = {
        "apiVersion": "agentsession.io/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": name("pool"), "namespace": namespace},
        "spec": {"template": {"agent": {"model": "m"}}},
    }
    pool = AgentPool.model_validate(await callers.admin.create(AGENTPOOLS, body))
    pod = await callers.operator.create(PODS, warm_pod(pool, of, installation(), SURROUNDINGS, USER, name("warm")))
    word = release_patch(uid_of(pod), MEMBERSHIP_ANNOTATION, "word")
    made: Object = dict(await callers.operator.merge_patch(PODS, (namespace, pod["metadata"]["name"]), word))
    return made


def plain_pod(namespace: str, **metadata: Any) -> Object:
    """A pod of somebody's."""
    container = {"name": "main", "image": "busybox:1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name("pod"), "namespace": namespace, **metadata},
        "spec": {"containers": [container]},
    }


def agent_session(namespace: str, **spec: Any) -> Object:
    """The smallest session, or more."""
    return {
        "apiVersion": "agentsession.io/v1alpha1",
        "kind": "AgentSession",
        "metadata": {"name": name("s"), "namespace": namespace},
        "spec": {"prompt": "hello", "agent": {"model": "m"}, **spec},
    }


def agent_tenant(namespace: str) -> Object:
    """The smallest tenant."""
    provider = {"credentialSecretRef": {"name": "key"}, "models": ["m"]}
    return {
        "apiVersion": "agentsession.io/v1alpha1",
        "kind": "AgentTenant",
        "metadata": {"name": name("t"), "namespace": namespace},
        "spec": {"provider": provider},
    }


def policy(namespace: str, **spec: Any) -> Object:
    """The operator's NetworkPolicy, or not quite."""
    made: Any = network_policy(namespace, installation())
    return {**made, "spec": {**made["spec"], **spec}}


def account(namespace: str, **fields: Any) -> Object:
    """The runners' ServiceAccount, or not quite."""
    return {**service_account(namespace), **fields}


def claim(
    namespace: str, prefix: str = "agentsession", annotations: dict[str, str] | None = None, **spec: Any
) -> Object:
    """A workspace, or not quite."""
    amount = {"requests": {"storage": "1Gi"}}
    metadata: Object = {"name": name(prefix), "namespace": namespace}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": amount, **spec},
    }


LABELLED = {"labels": {RUNNER_LABEL: "true"}}
