"""The NetworkPolicy that every namespace with runners has before its first runner, and what widens it."""

from collections.abc import Iterable, Mapping
from typing import Any

from agentsession.api.installation import Installation
from agentsession_runner.protocol import PORT

from .names import NETWORK_POLICY, RUNNER_LABEL
from .selectors import selects

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


def holds(policy: Mapping[str, Any] | None, namespace: str, install: Installation) -> bool:
    """Whether that object is the namespace's policy, as it has to be."""
    return policy is not None and policy["spec"] == network_policy(namespace, install)["spec"]


def widened_by(policies: Iterable[Mapping[str, Any]], labels: Mapping[str, str], vouched: Iterable[str]) -> str | None:
    """The first by name, of a namespace's NetworkPolicies, that lets a pod with those labels reach or hear more.

    Policies add up, so any rule of another policy does, whatever it admits; one without rules only takes away.
    vouched: names that are not looked at, beside that of our own.
    """
    known = {NETWORK_POLICY, *vouched}
    names = {
        policy["metadata"]["name"]
        for policy in policies
        if _adds(policy["spec"]) and selects(policy["spec"].get("podSelector") or {}, labels)
    }
    return min(names - known, default=None)


def widened_message(policy: str) -> str:
    """What to do about it, in one line."""
    return (
        f"NetworkPolicy {policy} also selects runners and widens what they reach. Except them in its "
        f"podSelector.matchExpressions: [{{key: {RUNNER_LABEL}, operator: DoesNotExist}}]; or have the installer list "
        "it under the chart's value runner.networkPolicies"
    )


def _adds(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("ingress") or spec.get("egress"))
