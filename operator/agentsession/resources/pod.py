"""The runner pod: one session's box, made for that session or before it is known."""

import hashlib
import json
from collections.abc import Mapping

from agentsession.api.agent import Agent
from agentsession.api.base import API_VERSION, KubeModel, to_json
from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool, PoolTemplate
from agentsession.api.session import MOST_TIME, AgentSession, Resources, Runtime
from agentsession.api.tenant import AgentTenant
from agentsession.api.values import parse_duration
from agentsession_runner import protocol

from .names import (
    CONTAIN_CONTAINER,
    EGRESS_HOST,
    POOL_LABEL,
    RUNNER_CONTAINER,
    RUNNER_LABEL,
    RUNNER_SERVICE_ACCOUNT,
    SESSION_LABEL,
    TENANT_LABEL,
    claim_name,
    runner_pod_name,
)
from .options import options_json
from .release import GATE
from .surroundings import Surroundings

TMP_SIZE = "1Gi"
PROBE_PERIOD, STARTUP_SECONDS = 10, 120
"""Seconds between two readiness probes of a connected runner; within which its agent must have connected."""


def session_pod(
    session: AgentSession,
    template: PoolTemplate,
    tenant: AgentTenant,
    install: Installation,
    surroundings: Surroundings,
    uid: int,
) -> dict[str, object]:
    """The pod of a session that starts cold, to be created once. uid: the user that its containers run as."""
    kept = session.status.workspace.sub_path if session.status.workspace is not None else None
    spec = _pod_spec(template, tenant, install, surroundings, uid, kept, _conversation(session))
    spec["activeDeadlineSeconds"] = int(parse_duration(session.spec.limits.wall_clock).total_seconds())
    name = runner_pod_name(session.metadata.name, session.metadata.uid)
    return _pod(session, "AgentSession", name, runner_labels(session), spec)


def warm_pod(
    pool: AgentPool, tenant: AgentTenant | None, install: Installation, surroundings: Surroundings, uid: int, name: str
) -> dict[str, object]:
    """A pod whose session is not known yet; its deadline is shortened to the session's when that claims it.

    tenant: None of a shared pool.
    """
    spec = warm_spec(pool.spec.template, tenant, install, surroundings, uid)
    spec["activeDeadlineSeconds"] = int((parse_duration(pool.spec.recycle.max_age) + MOST_TIME).total_seconds())
    return _pod(pool, "AgentPool", name, {RUNNER_LABEL: "true", POOL_LABEL: pool.metadata.uid}, spec)


def warm_spec(
    template: PoolTemplate, tenant: AgentTenant | None, install: Installation, surroundings: Surroundings, uid: int
) -> dict[str, object]:
    """The spec of a runner that has served nobody, without its deadline: all that a revision is made of.

    tenant: whose storage it mounts; None mounts nobody's.
    """
    return _pod_spec(template, tenant, install, surroundings, uid, None, [])


def revision(spec: Mapping[str, object]) -> str:
    """Names what a runner is made from: image, options, security settings, storage. Equal only if all of it is."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def runner_labels(session: AgentSession) -> dict[str, str]:
    """The labels of a session's pod."""
    return {
        RUNNER_LABEL: "true",
        SESSION_LABEL: session.metadata.uid,
        TENANT_LABEL: session.spec.tenant_ref.name,
    }


def owner_reference(owner: KubeModel, kind: str) -> dict[str, object]:
    """Who a runner goes with."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _pod(owner: KubeModel, kind: str, name: str, labels: dict[str, str], spec: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": owner.metadata.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(owner, kind)],
        },
        "spec": {**spec, "schedulingGates": [{"name": GATE}]},
    }


def _pod_spec(
    template: PoolTemplate,
    tenant: AgentTenant | None,
    install: Installation,
    surroundings: Surroundings,
    uid: int,
    workspace: str | None,
    conversation: list[dict[str, object]],
) -> dict[str, object]:
    """A runner, to meet Pod Security "restricted".

    The agent in it has a full shell, so whatever it must not have is not there: no service account token in its
    container, no DNS, no capability, no writable path but workspace, config and tmp.
    workspace: the folder of an earlier pod to mount again. conversation: the variables that say which one to take up.
    """
    runner = install.runner
    runtime_class = template.runtime.runtime_class_name or runner.runtime_class_name
    mounts = _mounts(workspace)
    environment = [*_environment(template.agent, install, surroundings), *conversation]
    made: dict[str, object] = {
        "serviceAccountName": RUNNER_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": runner.grace_seconds,
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "hostAliases": [{"ip": surroundings.egress_ip, "hostnames": [EGRESS_HOST]}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "runAsGroup": uid,
            "fsGroup": uid,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            {
                **_container(CONTAIN_CONTAINER, "contain", template.runtime, install, environment),
                "volumeMounts": [*mounts, _TOKEN_MOUNT],
            }
        ],
        "containers": [
            {
                **_container(RUNNER_CONTAINER, "serve", template.runtime, install, environment),
                "volumeMounts": mounts,
                "ports": [{"name": "runner", "containerPort": protocol.PORT}],
                "terminationMessagePath": protocol.TERMINATION_LOG,
                "startupProbe": _probe(1, STARTUP_SECONDS),
                "readinessProbe": _probe(PROBE_PERIOD, 1),
            }
        ],
        "volumes": [*_storage(tenant, kept=workspace is not None), _projected_token()],
    }
    if runtime_class is not None:
        made["runtimeClassName"] = runtime_class
    if runner.host_users is not None:
        made["hostUsers"] = runner.host_users
    return made


_TOKEN_MOUNT = {"name": "token", "mountPath": protocol.SERVICE_ACCOUNT_TOKEN.rpartition("/")[0], "readOnly": True}


def _container(
    name: str, command: str, runtime: Runtime, install: Installation, environment: list[dict[str, object]]
) -> dict[str, object]:
    return {
        "name": name,
        "image": runtime.image or install.runner.image,
        "imagePullPolicy": install.runner.image_pull_policy,
        "args": [command],
        "env": environment,
        "resources": runner_resources(install.runner.resources, runtime.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def _probe(period: int, failures: int) -> dict[str, object]:
    get = {"path": protocol.READY_PATH, "port": protocol.PORT}
    return {"httpGet": get, "periodSeconds": period, "failureThreshold": failures}


def _environment(agent: Agent, install: Installation, surroundings: Surroundings) -> list[dict[str, object]]:
    canary = f"{surroundings.canary_ip}:{install.canary.port}"
    return [
        {"name": protocol.ENV_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": protocol.ENV_HOST_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": protocol.ENV_EGRESS_URL, "value": f"http://{EGRESS_HOST}:{install.egress.port}"},
        {"name": protocol.ENV_FORBIDDEN, "value": f"{surroundings.api_server},{canary}"},
        {"name": protocol.ENV_OPTIONS, "value": _literal(options_json(agent))},
    ]


def _conversation(session: AgentSession) -> list[dict[str, object]]:
    """Which conversation to take up; if it was told of one and nothing was asked in it, its id for a fresh one."""
    if session.status.session_id is None:
        return []
    name = protocol.ENV_RESUME if session.status.turns else protocol.ENV_SESSION_ID
    return [{"name": name, "value": _literal(session.status.session_id)}]


def _literal(text: str) -> str:
    """The value of a variable that Kubernetes must not expand: it reads $(NAME) as a variable and $$ as a dollar."""
    return text.replace("$", "$$")


WORKSPACE_FOLDER, CONFIG_FOLDER = "w-", "c-"
"""First characters of a session's folders in the tenant's volume; the UID of its first pod follows."""


def workspace_sub_path(pod_uid: str) -> str:
    """Folder of a pod's workspace in the tenant's volume: one component, never nested, never the root."""
    return f"{WORKSPACE_FOLDER}{pod_uid}"


def _storage(tenant: AgentTenant | None, *, kept: bool) -> list[dict[str, object]]:
    tmp: dict[str, object] = {"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}}
    if tenant is None or (tenant.spec.workspace is None and not kept):
        return [{"name": "workspace", "emptyDir": {}}, {"name": "config", "emptyDir": {}}, tmp]
    claim = {"persistentVolumeClaim": {"claimName": claim_name(tenant.metadata.name)}}
    return [{"name": "workspace", **claim}, {"name": "config", **claim}, tmp]


def _mounts(workspace: str | None) -> list[dict[str, object]]:
    """A first pod mints the session's folders, every further one mounts those."""
    minted, kind = f"$({protocol.ENV_POD_UID})", "subPathExpr"
    if workspace is not None:
        minted, kind = workspace.removeprefix(WORKSPACE_FOLDER), "subPath"
    return [
        {"name": "workspace", "mountPath": protocol.WORKSPACE_VOLUME, kind: f"{WORKSPACE_FOLDER}{minted}"},
        {"name": "config", "mountPath": protocol.CONFIG_VOLUME, kind: f"{CONFIG_FOLDER}{minted}"},
        {"name": "tmp", "mountPath": protocol.TMP_VOLUME},
    ]


def _projected_token() -> dict[str, object]:
    folder_file = protocol.SERVICE_ACCOUNT_TOKEN.rpartition("/")[2]
    token = {"audience": protocol.IDENTITY_AUDIENCE, "expirationSeconds": 600, "path": folder_file}
    return {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}


def runner_resources(defaults: Resources, chosen: Resources | None) -> dict[str, dict[str, str]]:
    """Requests and limits: what the session names, else the installer's."""

    def merged(kind: str) -> dict[str, str]:
        layers = [getattr(layer, kind) for layer in (defaults, chosen) if layer is not None]
        return {name: amount for layer in layers if layer is not None for name, amount in to_json(layer).items()}

    return {"requests": merged("requests"), "limits": merged("limits")}
