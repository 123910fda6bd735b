"""Runners that no owner takes along when their session goes: those of shared pools that serve a session of another
namespace, for an owner is of one's own; and those that somebody has taken their owner from, as --cascade=orphan does.
In the namespace of a shared pool no tenant keeps anything as it has to be."""

from contextlib import suppress
from datetime import timedelta

from agentsession.keys.grant import Grant
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import Key, is_terminating, uid_of
from agentsession.kube.resource import AGENTSESSIONS
from agentsession.runners.deletion import delete_pod, outlives
from agentsession.runners.podview import Views
from agentsession.runners.premises import Premises


class ClaimedController:
    """Reconciles one such pod: it goes with its session, and is contained as long as it is there."""

    def __init__(self, api: ApiClient, caches: Caches, views: Views, premises: Premises) -> None:
        self._api = api
        self._caches = caches
        self._views = views
        self._premises = premises

    async def reconcile(self, key: Key) -> timedelta | None:
        """One step. Raises kube.errors.ApiError."""
        pod = self._caches.pods.get(key)
        if pod is None or is_terminating(pod) or not outlives(pod):
            return None
        grant = self._views.of(pod).grant
        if grant is not None and await self._outlived(grant):
            with suppress(NotFoundError):
                await delete_pod(self._api, self._caches.pods, key, uid_of(pod))
            return None
        namespace = self._caches.namespaces.get(("", key[0]))
        if namespace is not None and not is_terminating(namespace):
            await self._premises.hold(key[0])
        return None

    async def _outlived(self, grant: Grant) -> bool:
        """Whether the session is gone, or going. The watch of sessions may be behind a leader that has just begun."""
        session = self._caches.sessions.by_uid(grant.session_uid)
        if session is None:
            try:
                session = await self._api.get(AGENTSESSIONS, (grant.namespace, grant.session_name))
            except NotFoundError:
                return True
        return uid_of(session) != grant.session_uid or is_terminating(session)
