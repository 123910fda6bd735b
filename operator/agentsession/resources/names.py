"""Names that parts of the system agree on: labels, annotations, objects."""

from agentsession.api.base import GROUP

RUNNER_LABEL = f"{GROUP}/runner"
"""Label of every runner pod, value "true", for the NetworkPolicy; and of the objects that runners need."""
SESSION_LABEL = f"{GROUP}/session-uid"
"""Hint for people and for the cache; nobody trusts it."""
TENANT_LABEL = f"{GROUP}/tenant"
SESSION_NAMESPACE_LABEL = f"{GROUP}/session-namespace"
"""On a shared pool's runner that serves a session of another namespace: which. A hint too."""
POOL_LABEL = f"{GROUP}/pool-uid"
"""Hint: which AgentPool a runner was made for; it stays when a session claims it."""
GRANT_ANNOTATION = f"{GROUP}/grant"
MEMBERSHIP_ANNOTATION = f"{GROUP}/membership"
"""The operator's signed word that it made a pod for a pool."""
HOSTS_ANNOTATION = f"{GROUP}/hosts"
"""On a tenant's Secret: comma-separated host names that it may be sent to."""

RUNNER_SERVICE_ACCOUNT = "agentsession-runner"
NETWORK_POLICY = "agentsession-runners"
RUNNER_CONTAINER = "runner"
CONTAIN_CONTAINER = "contain"
EGRESS_HOST = "egress.agentsession.internal"
"""Name under which a runner finds the egress plane, by hostAliases; it has no DNS."""

OPERATOR_KEYS = "operator-keys"
"""Suffix of the Secret with the operator's keyring (keys.json); its public keys are a ConfigMap (jwks.json)."""
EGRESS_KEYS = "egress-keys"
"""Suffix of the Secret with the egress plane's keyring (key keys.json)."""


def runner_pod_name(session_name: str, session_uid: str) -> str:
    """The one name that a session's runner can have, so that a session never has two. At most 63 characters."""
    return f"{session_name[:54].rstrip('-.')}-{session_uid[:8]}"


def pool_pod_name(pool: str, suffix: str) -> str:
    """A runner of a pool. At most 63 characters."""
    return f"{pool[:54].rstrip('-.')}-{suffix}"


def claim_name(tenant: str) -> str:
    """The tenant's PersistentVolumeClaim."""
    return f"agentsession-{tenant}"
