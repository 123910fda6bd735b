"""Objects for tests, as the API server would send them."""

from agentsession.kube.objects import KubeObject


def pod(
    name: str,
    version: int = 1,
    *,
    uid: str = "",
    namespace: str = "ns",
    labels: dict[str, str] | None = None,
    owner: str = "",
    terminating: bool = False,
) -> KubeObject:
    """A Pod's metadata. `owner` is the uid of its controller."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": uid or f"uid-of-{name}",
            "resourceVersion": str(version),
            "labels": labels or {},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "helper", "uid": "not-a-controller"},
                {"apiVersion": "v1", "kind": "AgentSession", "name": "owner", "uid": owner, "controller": True},
            ]
            if owner
            else [],
            **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if terminating else {}),
        },
    }
