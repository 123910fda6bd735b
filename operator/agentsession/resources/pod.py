"""The runner pod: one session's box."""

from agentsession.api.base import API_VERSION, to_json
from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession, Resources
from agentsession.api.tenant import AgentTenant
from agentsession.api.values import parse_duration
from agentsession_runner import protocol

from .names import (
    CONTAIN_CONTAINER,
    EGRESS_HOST,
    RUNNER_CONTAINER,
    RUNNER_LABEL,
    RUNNER_SERVICE_ACCOUNT,
    SESSION_LABEL,
    TENANT_LABEL,
    claim_name,
    runner_pod_name,
)
from .options import options_json
from .surroundings import Surroundings

TMP_SIZE = "1Gi"


def runner_pod(
    session: AgentSession,
    tenant: AgentTenant,
    install: Installation,
    surroundings: Surroundings,
    uid: int,
) -> dict[str, object]:
    """The pod of a session, to be created once; it meets Pod Security "restricted".

    The agent in it has a full shell, so whatever it must not have is not there: no service account token in its
    container, no DNS, no capability, no writable path but workspace, config and tmp.
    """
    spec = session.spec
    runner = install.runner
    runtime_class = spec.runtime.runtime_class_name or runner.runtime_class_name
    pod_spec: dict[str, object] = {
        "serviceAccountName": RUNNER_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": int(parse_duration(spec.limits.wall_clock).total_seconds()),
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
        "initContainers": [_container(CONTAIN_CONTAINER, "contain", session, install, surroundings)],
        "containers": [_container(RUNNER_CONTAINER, "serve", session, install, surroundings)],
        "volumes": [*_storage(session, tenant), _projected_token()],
    }
    if runtime_class is not None:
        pod_spec["runtimeClassName"] = runtime_class
    if runner.host_users is not None:
        pod_spec["hostUsers"] = runner.host_users
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": runner_pod_name(session.metadata.name, session.metadata.uid),
            "namespace": session.metadata.namespace,
            "labels": runner_labels(session),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "AgentSession",
                    "name": session.metadata.name,
                    "uid": session.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": pod_spec,
    }


def runner_labels(session: AgentSession) -> dict[str, str]:
    """The labels of a session's pod."""
    return {
        RUNNER_LABEL: "true",
        SESSION_LABEL: session.metadata.uid,
        TENANT_LABEL: session.spec.tenant_ref.name,
    }


def _container(
    name: str, command: str, session: AgentSession, install: Installation, surroundings: Surroundings
) -> dict[str, object]:
    token_mount = {"name": "token", "mountPath": protocol.SERVICE_ACCOUNT_TOKEN.rpartition("/")[0], "readOnly": True}
    own: dict[str, dict[str, object]] = {
        CONTAIN_CONTAINER: {"volumeMounts": [*_mounts(session), token_mount]},
        RUNNER_CONTAINER: {
            "volumeMounts": _mounts(session),
            "ports": [{"name": "runner", "containerPort": protocol.PORT}],
            "terminationMessagePath": protocol.TERMINATION_LOG,
        },
    }
    return {
        "name": name,
        "image": session.spec.runtime.image or install.runner.image,
        "imagePullPolicy": install.runner.image_pull_policy,
        "args": [command],
        "env": _environment(session, install, surroundings),
        "resources": runner_resources(install.runner.resources, session.spec.runtime.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        **own[name],
    }


def _environment(session: AgentSession, install: Installation, surroundings: Surroundings) -> list[dict[str, object]]:
    canary = f"{surroundings.canary_ip}:{install.canary.port}"
    return [
        {"name": protocol.ENV_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": protocol.ENV_HOST_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": protocol.ENV_EGRESS_URL, "value": f"http://{EGRESS_HOST}:{install.egress.port}"},
        {"name": protocol.ENV_FORBIDDEN, "value": f"{surroundings.api_server},{canary}"},
        {"name": protocol.ENV_OPTIONS, "value": _literal(options_json(session.spec.agent))},
        *_conversation(session),
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


def _storage(session: AgentSession, tenant: AgentTenant) -> list[dict[str, object]]:
    tmp: dict[str, object] = {"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}}
    if tenant.spec.workspace is None and session.status.workspace is None:
        return [{"name": "workspace", "emptyDir": {}}, {"name": "config", "emptyDir": {}}, tmp]
    claim = {"persistentVolumeClaim": {"claimName": claim_name(tenant.metadata.name)}}
    return [{"name": "workspace", **claim}, {"name": "config", **claim}, tmp]


def _mounts(session: AgentSession) -> list[dict[str, object]]:
    """A first pod mints the session's folders, every further one mounts those."""
    minted, kind = f"$({protocol.ENV_POD_UID})", "subPathExpr"
    if session.status.workspace is not None:
        minted, kind = session.status.workspace.sub_path.removeprefix(WORKSPACE_FOLDER), "subPath"
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
