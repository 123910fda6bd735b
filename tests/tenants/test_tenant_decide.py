"""What a tenant's status says."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from agentsession.api.conditions import READY
from agentsession.api.report import CredentialState, TenantCredential
from agentsession.api.tenant import AgentTenant, AgentTenantStatus
from agentsession.tenants.decide import decide, invalid
from tests.sessions.build import INSTALL, tenant

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def said(status: AgentTenantStatus) -> dict[str, str]:
    return {item.type: f"{item.status} {item.reason}" for item in status.conditions}


def found(state: CredentialState, message: str = "m", generation: int = 1) -> TenantCredential:
    return TenantCredential(namespace="n", name="default", generation=generation, state=state, message=message)


def judged(
    credential: TenantCredential | None = None, problem: str | None = None, who: AgentTenant | None = None
) -> AgentTenantStatus:
    return decide(who or fresh(), credential, problem, INSTALL, NOW)


def fresh(**spec: Any) -> AgentTenant:
    made = tenant(**spec)
    made.status.conditions = []
    return made


def test_a_usable_credential_makes_it_ready() -> None:
    status = judged(found("Ready"))
    assert said(status) == {"Accepted": "True Accepted", "Ready": "True Ready", "ResolvedRefs": "True ResolvedRefs"}
    assert status.observed_generation == 1


@pytest.mark.parametrize("state", ["SecretNotFound", "GrantMissing", "KeyMissing", "HostNotAllowed"])
def test_a_credential_that_cannot_be_used_is_waited_for(state: CredentialState) -> None:
    status = judged(found(state, "what to do"))
    assert said(status) == {
        "Accepted": "True Accepted",
        "Ready": f"False {state}",
        "Reconciling": f"True {state}",
        "ResolvedRefs": f"False {state}",
    }
    assert {item.message for item in status.conditions if item.type != "Accepted"} == {"what to do"}


@pytest.mark.parametrize("credential", [None, found("Unknown")])
def test_nothing_is_known_yet(credential: TenantCredential | None) -> None:
    assert said(judged(credential))["Ready"] == "False CredentialPending"


def test_an_egress_plane_that_is_away_withdraws_nothing() -> None:
    before = tenant()
    assert said(judged(None, who=before))["Ready"] == "True Ready"
    before.metadata.generation = 2
    assert said(judged(None, who=before))["Ready"] == "False CredentialPending"


def test_a_namespace_that_cannot_be_made_ready_is_said_first() -> None:
    status = judged(found("Ready"), "the API server refuses: no")
    assert said(status)["Ready"] == "False NamespaceNotReady"
    assert next(item.message for item in status.conditions if item.type == READY) == "the API server refuses: no"


def test_a_base_url_that_the_installer_does_not_list_is_stalled_and_names_the_field() -> None:
    elsewhere = {"credentialSecretRef": {"name": "key"}, "models": ["m"], "baseURL": "https://elsewhere.example"}
    who = fresh(provider=elsewhere)
    status = judged(found("Ready"), who=who)
    assert said(status) == {
        "Accepted": "False UpstreamNotAllowed",
        "Ready": "False UpstreamNotAllowed",
        "Stalled": "True UpstreamNotAllowed",
    }
    assert "spec.provider.baseURL: https://elsewhere.example" in status.conditions[0].message
    assert "https://api.anthropic.com" in status.conditions[0].message


def test_the_same_again_is_the_same_status() -> None:
    first = judged(found("Ready"))
    who = tenant()
    who.status = first
    later = decide(who, found("Ready"), None, INSTALL, datetime(2026, 1, 3, tzinfo=UTC))
    assert later == first


def test_a_spec_of_another_version_is_stalled_and_names_the_field() -> None:
    with pytest.raises(ValidationError) as caught:
        fresh(budget={"usd": "1"})
    status = invalid(tenant().metadata, AgentTenantStatus(), caught.value, NOW)
    assert said(status)["Stalled"] == "True InvalidSpec"
    assert "spec.budget" in status.conditions[0].message
