"""What lets the egress plane read one Secret of a tenant: a Role for that name alone, and its binding."""

from agentsession.api.installation import Installation

Manifest = dict[str, object]


def grant_name(secret: str) -> str:
    """Name of the Role and of the RoleBinding."""
    return f"agentsession-egress-{secret}"


def grant_manifest(installation: Installation, namespace: str, secret: str) -> list[Manifest]:
    """The Role and the RoleBinding that a tenant's namespace needs for that Secret."""
    metadata = {"name": grant_name(secret), "namespace": namespace}
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": grant_name(secret)},
            "subjects": [
                {
                    "kind": "ServiceAccount",
                    "name": installation.egress_service_account,
                    "namespace": installation.namespace,
                }
            ],
        },
    ]


def grant_commands(installation: Installation, namespace: str, secret: str) -> str:
    """The same in one line for a shell; a condition's message has no room for YAML."""
    name = grant_name(secret)
    account = f"{installation.namespace}:{installation.egress_service_account}"
    return (
        f"kubectl -n {namespace} create role {name} --verb=get --resource=secrets --resource-name={secret} && "
        f"kubectl -n {namespace} create rolebinding {name} --role={name} --serviceaccount={account}"
    )
