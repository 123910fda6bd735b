"""Puts cases of the corpus where an operator finds them, and says what became of them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from agentsession.api.base import condition
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.egress.credentials import judge
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ApiError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, NAMESPACES, SECRETS, Resource
from tests.kube.kinds import BY_KIND
from tests.sessions.build import INSTALL
from tests.sessions.inprocess import World

from .asking import Asker
from .corpus import Case

TENANT = """\
apiVersion: agentsession.io/v1alpha1
kind: AgentTenant
metadata: {name: default}
spec: {provider: {credentialSecretRef: {name: key}, models: [m]}}
"""


@dataclass(frozen=True)
class Placed:
    """A case in its namespace: among good sessions, if it is nothing but a session, else alone."""

    case: Case
    namespace: str
    resource: Resource
    name: str


@dataclass
class Placer:
    """Applies cases as an administrator; reads Secrets with the rights of the egress plane's own account.

    admin: past whatever stands between the operator and the API server. egress: impersonates that account.
    """

    world: World
    admin: ApiClient
    asker: Asker
    egress: ApiClient
    namespaces: list[str] = field(default_factory=list)

    async def place(self, case: Case) -> Placed:
        """Apply the wrong documents."""
        kinds = {yaml.safe_load(document)["kind"] for document in case.documents}
        alone = not kinds <= {"AgentSession", "ConfigMap"} or "# alone" in case.documents[0]
        namespace = await self._namespace() if alone else self.world.namespace
        if alone and "AgentTenant" not in kinds:
            self.world.egress.finds(await self._apply(namespace, TENANT))
        for document in case.documents:
            made = await self._apply(namespace, document)
        await self.judge(namespace, made)
        return Placed(case, namespace, BY_KIND[made["kind"]], made["metadata"]["name"])

    async def put_right(self, placed: Placed) -> None:
        """Apply what heals it. A session is made anew, since its spec cannot change."""
        for document in placed.case.remedy:
            body = yaml.safe_load(document)
            if body["kind"] == AGENTSESSIONS.kind:
                await self.admin.delete(AGENTSESSIONS, (placed.namespace, body["metadata"]["name"]))
            await self._apply(placed.namespace, document)
        now = await self.admin.get(placed.resource, (placed.namespace, placed.name))
        await self.judge(placed.namespace, now)

    async def judge(self, namespace: str, made: KubeObject) -> None:
        """Report of a tenant's Secret what the egress plane would: a process of its own, in a cluster."""
        if made["kind"] != AGENTTENANTS.kind:
            return
        tenant = AgentTenant.model_validate(made)
        found: KubeObject | ApiError
        try:
            found = await self.egress.get(SECRETS, (namespace, tenant.spec.provider.credential_secret_ref.name))
        except ApiError as error:
            found = error
        told = judge(INSTALL, tenant, found).found
        self.world.egress.finds(made, told.state, told.message)
        await self.world.leader.meters.pull()

    async def ready(self, placed: Placed) -> tuple[str, str, str]:
        """Status, reason and message of its condition Ready."""
        raw = await self.admin.get(placed.resource, (placed.namespace, placed.name))
        kind = AgentSession if placed.resource is AGENTSESSIONS else AgentTenant
        found = condition(kind.model_validate(raw).status.conditions, "Ready")
        return (found.status, found.reason, found.message) if found is not None else ("", "", "")

    async def _namespace(self) -> str:
        name = f"test-{uuid.uuid4().hex[:10]}"
        await self.admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.namespaces.append(name)
        return name

    async def _apply(self, namespace: str, document: str) -> Mapping[str, Any]:
        body = yaml.safe_load(document)
        asker = replace(self.asker, namespace=namespace)
        answer = await asker.apply(BY_KIND[body["kind"]], body["metadata"]["name"], document, keep=True)
        assert answer.admitted, (document, answer.message)
        return answer.made
