"""Deletes runner pods, and tells those that nobody else would."""

from agentsession.kube.cache import Store
from agentsession.kube.client import ApiClient
from agentsession.kube.objects import Key, KubeObject, controller_of, is_terminating, labels_of
from agentsession.kube.resource import PODS
from agentsession.resources.names import SESSION_LABEL, SESSION_NAMESPACE_LABEL


def outlives(pod: KubeObject) -> bool:
    """Whether it is a session's, and stays when that goes: no owner takes it along."""
    labels = labels_of(pod)
    return SESSION_NAMESPACE_LABEL in labels or (SESSION_LABEL in labels and controller_of(pod) is None)


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
