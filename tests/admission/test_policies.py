"""The policies themselves: what the API server thinks of their expressions, and that they fail closed."""

import asyncio

import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.objects import KubeObject
from tests.chart.helm import render
from tests.sessions.inprocess import SECONDS

from .cluster import POLICIES, VALUES, Callers

pytestmark = pytest.mark.apiserver


async def test_the_api_server_understands_every_expression(callers: Callers) -> None:
    """It checks each against the types of what the policy is about, and has no warning."""
    for made in (item for item in render(VALUES) if item["kind"] == "ValidatingAdmissionPolicy"):
        checked = await _checked(callers.admin, made["metadata"]["name"])
        assert "expressionWarnings" not in checked["status"]["typeChecking"], checked["status"]


async def _checked(api: ApiClient, name: str) -> KubeObject:
    async with asyncio.timeout(SECONDS):
        while "typeChecking" not in (found := await api.get(POLICIES, ("", name))).get("status", {}):
            await asyncio.sleep(0.1)
    return found


def test_every_policy_fails_closed_and_is_bound_to_deny() -> None:
    made = render(VALUES)
    policies = {item["metadata"]["name"]: item for item in made if item["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [item["spec"] for item in made if item["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert policies
    assert {item["spec"]["failurePolicy"] for item in policies.values()} == {"Fail"}
    assert bindings == [{"policyName": name, "validationActions": ["Deny"]} for name in policies]
