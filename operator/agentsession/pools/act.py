"""Makes and deletes a pool's runners. Whatever comes of a write, the cache then has it, so that none is made twice."""

import asyncio
import secrets
from collections.abc import Callable

from agentsession.api.installation import Installation
from agentsession.api.pool import AgentPool
from agentsession.api.tenant import AgentTenant
from agentsession.keys.keyring import Keyring
from agentsession.keys.membership import Membership
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError, NotFoundError, UnknownOutcomeError
from agentsession.kube.objects import Key, KubeObject, key_of, labels_of
from agentsession.kube.resource import PODS
from agentsession.resources.names import MEMBERSHIP_ANNOTATION, SESSION_LABEL, pool_pod_name
from agentsession.resources.pod import warm_pod
from agentsession.resources.release import release_patch
from agentsession.resources.surroundings import Surroundings
from agentsession.runners.deletion import delete_pod
from agentsession.runners.podview import PodView


class Actor:
    """Writes to the API server. made: told of each new runner, by its pool's uid."""

    def __init__(
        self,
        api: ApiClient,
        caches: Caches,
        install: Installation,
        surroundings: Surroundings,
        keyring: Callable[[], Keyring],
        made: Callable[[str], None],
    ) -> None:
        self._api = api
        self._caches = caches
        self._install = install
        self._surroundings = surroundings
        self._keyring = keyring
        self._made = made

    async def create(self, pool: AgentPool, tenant: AgentTenant | None, user: int, revision: str) -> None:
        """One runner, and then the operator's word that it made it. tenant: None of a shared pool.

        Raises kube.errors.ApiError.
        """
        name = pool_pod_name(pool.metadata.name, secrets.token_hex(4))
        pod = await self._created(warm_pod(pool, tenant, self._install, self._surroundings, user, name))
        uid = pod["metadata"]["uid"]
        member = Membership(pod_uid=uid, pool_uid=pool.metadata.uid, revision=revision)
        patch = release_patch(uid, MEMBERSHIP_ANNOTATION, member.sign(self._keyring()))
        self._caches.pods.observe("ADDED", await self._api.merge_patch(PODS, key_of(pod), patch))
        self._made(pool.metadata.uid)  # the watch brings nothing that is new to the cache

    async def _created(self, body: KubeObject) -> KubeObject:
        """Of an answer that was lost, the pod itself tells."""
        try:
            pod = await self._api.create(PODS, body)
        except UnknownOutcomeError:
            pod = await self._patiently(key_of(body))
        self._caches.pods.observe("ADDED", pod)
        return pod

    async def _patiently(self, key: Key) -> KubeObject:
        while True:
            try:
                return await self._api.get(PODS, key)
            except NotFoundError:
                raise
            except ApiError:  # until it is known, a pod may be there that nobody counts
                await asyncio.sleep(1)

    async def delete(self, namespace: str, pod: PodView) -> None:
        """That very pod, unless a session has claimed it since that was decided.

        Raises ConflictError if it has changed, or another kube.errors.ApiError.
        """
        known = self._caches.pods.get((namespace, pod.name))
        if known is not None and SESSION_LABEL in labels_of(known):
            return
        version = known["metadata"].get("resourceVersion", "") if known is not None else ""
        try:
            await delete_pod(self._api, self._caches.pods, (namespace, pod.name), pod.uid, resource_version=version)
        except NotFoundError:
            if known is not None:
                self._caches.pods.observe("DELETED", known)
