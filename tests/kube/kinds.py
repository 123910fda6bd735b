"""Kinds that tests write and the product does not, and all of them by name."""

from agentsession.kube.resource import AGENTPOOLS, AGENTSESSIONS, AGENTTENANTS, CONFIGMAPS, SECRETS, Resource

RBAC = "rbac.authorization.k8s.io"
CRDS = Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
LIMIT_RANGES = Resource("", "v1", "LimitRange", "limitranges")
QUOTAS = Resource("", "v1", "ResourceQuota", "resourcequotas")
ROLES = Resource(RBAC, "v1", "Role", "roles")
ROLE_BINDINGS = Resource(RBAC, "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLES = Resource(RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)

BY_KIND = {
    resource.kind: resource
    for resource in (
        AGENTPOOLS,
        AGENTSESSIONS,
        AGENTTENANTS,
        CONFIGMAPS,
        SECRETS,
        LIMIT_RANGES,
        QUOTAS,
        ROLES,
        ROLE_BINDINGS,
        CLUSTER_ROLES,
        CLUSTER_ROLE_BINDINGS,
    )
}
"""What manifests that people are shown may hold."""
