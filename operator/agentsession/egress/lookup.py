"""One look past the watches: they may be a moment behind a claim that has just been made."""

import asyncio
import logging
from dataclasses import dataclass, field

from agentsession.kube.cache import Store
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError, NotFoundError
from agentsession.kube.objects import Key, labels_of
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, PODS, Resource
from agentsession.resources.names import RUNNER_LABEL

from . import metrics
from .admission import Unseen
from .directory import Directory

NEGATIVE_SECONDS = 2.0
"""How long nobody asks again for what was not there, or no different: a runner may not load the API server."""

log = logging.getLogger(__name__)


@dataclass
class Lookup:
    """Reads single objects into the directory, each at most once in NEGATIVE_SECONDS."""

    api: ApiClient
    directory: Directory
    _looks: dict[tuple[Resource, Key], asyncio.Task[bool]] = field(default_factory=dict)

    async def __call__(self, unseen: Unseen) -> bool:
        """Whether the API server knew more than the watches had shown; if so, the directory now knows it too."""
        place = (unseen.resource, unseen.key)
        if place not in self._looks:
            self._looks[place] = asyncio.create_task(self._look(unseen.resource, unseen.key))
            loop = asyncio.get_running_loop()
            self._looks[place].add_done_callback(
                lambda _: loop.call_later(NEGATIVE_SECONDS, self._looks.pop, place, None)
            )
        return await asyncio.shield(self._looks[place])

    async def _look(self, resource: Resource, key: Key) -> bool:
        try:
            found = await self.api.get(resource, key)
        except NotFoundError:
            metrics.LOOKUPS.labels("absent").inc()
            return False
        except ApiError as error:
            metrics.LOOKUPS.labels("error").inc()
            log.warning("looking for %s %s: %s", resource.kind, "/".join(key), error)
            return False
        metrics.LOOKUPS.labels("found").inc()
        if resource == PODS and labels_of(found).get(RUNNER_LABEL) != "true":
            return False
        return self._store(resource).observe(None, found)

    def _store(self, resource: Resource) -> Store:
        return {
            PODS: self.directory.pods.store,
            AGENTSESSIONS: self.directory.sessions.store,
            AGENTTENANTS: self.directory.tenants.store,
        }[resource]
