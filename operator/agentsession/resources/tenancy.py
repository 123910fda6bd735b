"""What a tenant has besides the NetworkPolicy: the runners' ServiceAccount, a volume, and a range of user ids."""

import hashlib

from agentsession.api.base import API_VERSION
from agentsession.api.tenant import AgentTenant, Workspace

from .names import RUNNER_LABEL, RUNNER_SERVICE_ACCOUNT, claim_name

FIRST_UID = 100_000
LAST_UID = 2**31 - 2


def runner_uid(namespace_uid: str) -> int:
    """User and group id of a namespace's runners: derived from the namespace's own uid, so that two namespaces
    differ on a node's file system and process table even where nothing else keeps them apart."""
    digest = hashlib.sha256(namespace_uid.encode()).digest()
    return FIRST_UID + int.from_bytes(digest[:8], "big") % (LAST_UID - FIRST_UID)


def service_account(namespace: str) -> dict[str, object]:
    """An account with no rights, whose token is never mounted; the projected one is for the egress plane only."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": RUNNER_SERVICE_ACCOUNT, "namespace": namespace, "labels": {RUNNER_LABEL: "true"}},
        "automountServiceAccountToken": False,
    }


def workspace_claim(tenant: AgentTenant, workspace: Workspace) -> dict[str, object]:
    """The tenant's PersistentVolumeClaim. With retain: Delete it goes when the AgentTenant goes."""
    metadata: dict[str, object] = {
        "name": claim_name(tenant.metadata.name),
        "namespace": tenant.metadata.namespace,
        "labels": {RUNNER_LABEL: "true"},
    }
    if workspace.retain == "Delete":
        metadata["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": "AgentTenant",
                "name": tenant.metadata.name,
                "uid": tenant.metadata.uid,
            }
        ]
    spec: dict[str, object] = {
        "accessModes": [workspace.access_mode],
        "resources": {"requests": {"storage": workspace.size}},
    }
    if workspace.storage_class_name is not None:
        spec["storageClassName"] = workspace.storage_class_name
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
