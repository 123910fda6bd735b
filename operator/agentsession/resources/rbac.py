"""Who may do what at the API server: the one table that the chart's and the plain manifests' roles are made of.

There is no wildcard and no cluster-wide right to a Secret. The right to read a tenant's credential is not here: it is a
Role in the tenant's namespace that names that one Secret, and the tenant's side grants it.
"""

from dataclasses import dataclass
from typing import Literal

from agentsession.api.base import GROUP
from agentsession.api.installation import MOST_SHARDS

from .names import EGRESS_KEYS, OPERATOR_KEYS

CORE = ""
Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
WATCH: tuple[Verb, ...] = ("list", "watch")
READ: tuple[Verb, ...] = ("get", *WATCH)
APPLY: tuple[Verb, ...] = ("create", "patch")
"""Server-side apply is a patch, and a create of an object that does not exist yet. Its create carries the name, so that
it can be bound to one (resourceNames), which a plain create cannot."""
WRITE: tuple[Verb, ...] = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True)
class Rule:
    """One row: what it permits, and why it must. `names` are suffixes that follow the installation's name."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[Verb, ...]
    why: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoleSpec:
    """A role called <installation>-<suffix>, held by the service account of that name; or, with `aggregate_to`, part of
    Kubernetes' own role of that name for users, which every greater one includes: view, edit, admin."""

    suffix: str
    rules: tuple[Rule, ...]
    namespaced: bool = False
    aggregate_to: str = ""


OPERATOR = RoleSpec(
    "operator",
    (
        Rule(GROUP, ("agentsessions", "agentpools", "agenttenants"), READ, "the watches that everything starts from"),
        Rule(GROUP, ("agentsessions",), ("delete",), "ttlSecondsAfterFinished"),
        Rule(
            GROUP,
            ("agentsessions/status", "agentpools/status", "agenttenants/status"),
            ("patch",),
            "all that it writes of them",
        ),
        Rule(CORE, ("pods",), (*READ, "create", "patch", "delete"), "runners, and the grant that is patched onto one"),
        Rule(
            "networking.k8s.io",
            ("networkpolicies",),
            (*READ, *APPLY),
            "contains runners; repaired when touched, and those of others that widen it are found",
        ),
        Rule(CORE, ("serviceaccounts",), (*WATCH, *APPLY), "the account of runners, which has no rights"),
        Rule(CORE, ("persistentvolumeclaims",), (*READ, *APPLY), "a tenant's workspace, and what becomes of it"),
        Rule(CORE, ("namespaces",), READ, "a namespace's uid gives its runners their user id"),
        Rule(CORE, ("configmaps",), ("get",), "promptFrom"),
        Rule("events.k8s.io", ("events",), ("create",), "what kubectl describe shows"),
    ),
)
LEASE_NAMES = ("operator", *(f"operator-{shard}" for shard in range(1, MOST_SHARDS)), "operator-shards")
OPERATOR_OWN = RoleSpec(
    "operator",
    (
        Rule("coordination.k8s.io", ("leases",), ("create",), "first election; not bound to a name, see APPLY"),
        Rule("coordination.k8s.io", ("leases",), ("get", "patch"), "election and renewal", LEASE_NAMES),
        Rule(CORE, ("secrets",), ("get", *APPLY), "the two keyrings", (OPERATOR_KEYS, EGRESS_KEYS)),
        Rule(CORE, ("configmaps",), APPLY, "its public keys", (OPERATOR_KEYS,)),
        Rule(CORE, ("services",), ("get",), "ClusterIPs that runner pods are built with", ("egress", "canary")),
    ),
    namespaced=True,
)
EGRESS = RoleSpec(
    "egress",
    (
        Rule(CORE, ("pods",), READ, "whether a runner exists, and the grant on it"),
        Rule(GROUP, ("agentsessions", "agenttenants"), READ, "whether a session may run, and what its tenant may use"),
        Rule("authentication.k8s.io", ("tokenreviews",), ("create",), "who a runner is when it asks for an identity"),
    ),
)
EGRESS_OWN = RoleSpec(
    "egress",
    (
        Rule(CORE, ("secrets",), ("get",), "its signing keys", (EGRESS_KEYS,)),
        Rule(CORE, ("configmaps",), ("get",), "the operator's public keys", (OPERATOR_KEYS,)),
    ),
    namespaced=True,
)
USERS = (
    RoleSpec(
        "view", (Rule(GROUP, ("agentsessions", "agentpools", "agenttenants"), READ, "looks"),), aggregate_to="view"
    ),
    RoleSpec("edit", (Rule(GROUP, ("agentsessions",), WRITE, "runs sessions"),), aggregate_to="edit"),
    RoleSpec(
        "admin",
        (
            Rule(GROUP, ("agenttenants", "agentpools"), WRITE, "sets what tenants may use and what waits for them"),
            Rule(GROUP, ("agentpools/scale",), ("get", "update", "patch"), "kubectl scale"),
        ),
        aggregate_to="admin",
    ),
)
COMPONENTS: dict[str, tuple[RoleSpec, ...]] = {
    "operator": (OPERATOR, OPERATOR_OWN),
    "egress": (EGRESS, EGRESS_OWN),
    "users": USERS,
}

Manifest = dict[str, object]
API_GROUP = "rbac.authorization.k8s.io"
AGGREGATE = f"{API_GROUP}/aggregate-to-"


def objects(role: RoleSpec, name: str, namespace: str) -> list[Manifest]:
    """The (Cluster)Role and, unless it is aggregated, its binding, for an installation of that name and namespace."""
    kind = "Role" if role.namespaced else "ClusterRole"
    full_name = f"{name}-{role.suffix}"
    metadata: dict[str, object] = {"name": full_name}
    if role.namespaced:
        metadata["namespace"] = namespace
    made: Manifest = {
        "apiVersion": f"{API_GROUP}/v1",
        "kind": kind,
        "metadata": {**metadata, **({"labels": {AGGREGATE + role.aggregate_to: "true"}} if role.aggregate_to else {})},
        "rules": [_rule(rule, name) for rule in role.rules],
    }
    if role.aggregate_to:
        return [made]
    binding: Manifest = {
        "apiVersion": f"{API_GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": API_GROUP, "kind": kind, "name": full_name},
        "subjects": [{"kind": "ServiceAccount", "name": full_name, "namespace": namespace}],
    }
    return [made, binding]


def _rule(rule: Rule, name: str) -> dict[str, list[str]]:
    names = {"resourceNames": [f"{name}-{suffix}" for suffix in rule.names]} if rule.names else {}
    return {"apiGroups": [rule.group], "resources": list(rule.resources), **names, "verbs": list(rule.verbs)}
