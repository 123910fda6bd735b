"""The NetworkPolicy that every namespace with runners has before its first runner."""

from agentsession.api.installation import Installation
from agentsession_runner.protocol import PORT

from .names import NETWORK_POLICY, RUNNER_LABEL

NAMESPACE_NAME = "kubernetes.io/metadata.name"


def network_policy(namespace: str, install: Installation) -> dict[str, object]:
    """Runners hear the operator on their port and reach the egress plane on its; nothing else, DNS included.

    Every default is spelled out, so that the object read back equals the one applied.
    """

    def pods(labels: dict[str, str]) -> dict[str, object]:
        return {
            "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: install.namespace}},
            "podSelector": {"matchLabels": labels},
        }

    def tcp(port: int) -> dict[str, object]:
        return {"protocol": "TCP", "port": port}

    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NETWORK_POLICY, "namespace": namespace, "labels": {RUNNER_LABEL: "true"}},
        "spec": {
            "podSelector": {"matchLabels": {RUNNER_LABEL: "true"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [pods(install.operator_labels)], "ports": [tcp(PORT)]}],
            "egress": [{"to": [pods(install.egress.pod_labels)], "ports": [tcp(install.egress.port)]}],
        },
    }
