"""Deletes runner pods."""

from agentsession.kube.cache import Store
from agentsession.kube.client import ApiClient
from agentsession.kube.objects import Key, is_terminating
from agentsession.kube.resource import PODS


async def delete_pod(
    api: ApiClient, pods: Store, key: Key, uid: str, *, resource_version: str = "", grace_seconds: int | None = None
) -> None:
    """Ask for it. `pods`, the cache, knows of it from the answer: nothing is begun with a pod that is going, also if a
    watch tells of it late.

    resource_version: if given, ConflictError if it has changed since. Raises NotFoundError, ConflictError, ApiError.
    """
    left = await api.delete(PODS, key, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)
    if is_terminating(left):
        pods.observe("MODIFIED", left)
