"""What benchmarks create, and how full a pool says it is: in the same field for both contenders."""

from collections.abc import Mapping

from agentsession.kube.client import ApiClient
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import Resource


def made_of(kind: Resource, namespace: str, name: str, spec: Mapping[str, object]) -> KubeObject:
    """An object of that kind."""
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


async def ready_in(api: ApiClient, pools: Resource, key: Key) -> int:
    """How many of that pool wait, as its status says."""
    ready: int = (await api.get(pools, key)).get("status", {}).get("readyReplicas", 0)
    return ready
