"""The tenants of sessions and pools, as they can be read."""

from pydantic import ValidationError

from agentsession.api.base import spec_errors
from agentsession.api.tenant import AgentTenant
from agentsession.kube.cache import Store
from agentsession.kube.objects import Key
from agentsession.kube.versions import Versions


class Tenants:
    """Reads the cache of tenants."""

    def __init__(self, cache: Store) -> None:
        self._cache = cache
        self._read = Versions(AgentTenant.model_validate)

    def find(self, key: Key) -> tuple[AgentTenant | None, str | None]:
        """The tenant, None if there is none or it cannot be read; and in the latter case why."""
        found = self._cache.get(key)
        try:
            return (self._read.of(found) if found is not None else None), None
        except ValidationError as error:
            return None, spec_errors(error)
