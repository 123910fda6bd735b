"""What a namespace has before its first runner, whosever it is: the NetworkPolicy first, then the account."""

from agentsession.api.installation import Installation
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.resource import NETWORKPOLICIES, SERVICEACCOUNTS
from agentsession.resources.names import NETWORK_POLICY, RUNNER_SERVICE_ACCOUNT
from agentsession.resources.network import holds, network_policy
from agentsession.resources.tenancy import service_account


class Premises:
    """Puts both there, and back. What it applied is remembered, so that an unchanged namespace costs no write."""

    def __init__(self, api: ApiClient, caches: Caches, install: Installation) -> None:
        self._api = api
        self._caches = caches
        self._install = install
        self._applied: set[str] = set()

    async def hold(self, namespace: str) -> bool:
        """Whether something was to be written. Raises kube.errors.ApiError."""
        policy = not holds(self._caches.policies.get((namespace, NETWORK_POLICY)), namespace, self._install)
        if policy:
            desired = network_policy(namespace, self._install)
            self._caches.policies.observe("MODIFIED", await self._api.apply(NETWORKPOLICIES, desired))
        account = self._caches.accounts.get((namespace, RUNNER_SERVICE_ACCOUNT))
        if account is not None and namespace in self._applied:
            return policy
        self._caches.accounts.observe("MODIFIED", await self._api.apply(SERVICEACCOUNTS, service_account(namespace)))
        self._applied.add(namespace)
        return True
