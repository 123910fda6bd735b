"""The namespaces that there are, and what of a runner is where: its pod may be in another one than its session."""

from agentsession.kube.objects import Key, KubeObject, key_of, labels_of
from agentsession.resources.names import SESSION_NAMESPACE_LABEL, TENANT_LABEL

NAMESPACE = "people"
GUESTS = "guests"
"""More people, who have nothing but what is shared with them."""
COMMONS = "commons"
"""Where pools may be shared."""
ALL = (NAMESPACE, GUESTS, COMMONS)


def payer(pod: KubeObject) -> Key:
    """The tenant whose runner it is; without a name before it is anybody's."""
    labels = labels_of(pod)
    return labels.get(SESSION_NAMESPACE_LABEL, key_of(pod)[0]), labels.get(TENANT_LABEL, "")
