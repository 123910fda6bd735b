"""Who waits for a tenant hears of its status, whoever wrote it."""

from typing import cast

import pytest

from agentsession.api.base import to_json
from agentsession.api.report import CredentialState, TenantCredential
from agentsession.api.tenant import AgentTenant
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.events import EventRecorder
from agentsession.kube.objects import Key
from agentsession.runners.premises import Premises
from agentsession.tenants.controller import TenantController
from agentsession.tenants.decide import decide
from agentsession.usage.meters import Meters
from tests.sessions.build import INSTALL, NOW, tenant

pytestmark = pytest.mark.unit


class Around(Meters, Premises):
    """A namespace that needs nothing, and an egress plane that says one thing of the credential."""

    def __init__(self) -> None:
        self.found = TenantCredential(namespace="n", name="default", generation=1, state="Ready")

    async def hold(self, _: str) -> bool:
        return False

    def credential(self, _: Key, __: int) -> TenantCredential:
        return self.found


def written_by_another(caches: Caches, around: Around, state: CredentialState, version: int) -> AgentTenant:
    """Its status is what it should be."""
    around.found = around.found.model_copy(update={"state": state})
    made = tenant()
    made.status = decide(made, around.found, None, INSTALL, NOW)
    body = to_json(made)
    caches.tenants.observe(
        "MODIFIED", {**body, "metadata": {**to_json(made.metadata), "resourceVersion": str(version)}}
    )
    return made


async def test_what_another_operator_wrote_is_told_once() -> None:
    caches, around, told = Caches(), Around(), list[Key]()
    nobody, nothing = cast(ApiClient, None), cast(EventRecorder, None)  # whoever writes or records fails
    controller = TenantController(nobody, caches, around, nothing, around, INSTALL, told.append)
    for times, state in enumerate(("GrantMissing", "Ready"), start=1):
        made = written_by_another(caches, around, cast(CredentialState, state), times)
        for _ in range(2):
            await controller.reconcile(made.key)
            assert told == [made.key] * times
