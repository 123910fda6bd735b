"""The NetworkPolicies that decide what runners reach are not for a namespace's users to write."""

from typing import Any

import pytest

from agentsession.kube.errors import ForbiddenError
from agentsession.kube.resource import NETWORKPOLICIES
from agentsession.resources.names import NETWORK_POLICY

from .cluster import EDITOR, GUARDED, NAMESPACE_ADMIN, OPEN, Callers
from .objects import name, policy

pytestmark = pytest.mark.apiserver

ANYWHERE: list[dict[str, Any]] = [{}]


def foreign(namespace: str, named: str) -> dict[str, Any]:
    """A policy that opens everything."""
    made = policy(namespace, egress=ANYWHERE)
    return {**made, "metadata": {"name": named, "namespace": namespace}}


@pytest.mark.parametrize("role", [EDITOR, NAMESPACE_ADMIN])
@pytest.mark.parametrize("named", [NETWORK_POLICY, "vouched"])
async def test_a_namespaces_users_do_not_write_them(callers: Callers, named: str, role: str) -> None:
    await (await callers.user(OPEN, role)).apply(NETWORKPOLICIES, foreign(OPEN, named))
    user = await callers.user(GUARDED, role)
    with pytest.raises(ForbiddenError, match=f"NetworkPolicy {named} decides what runners reach"):
        await user.create(NETWORKPOLICIES, foreign(GUARDED, named))
    await callers.admin.apply(NETWORKPOLICIES, foreign(GUARDED, named))
    with pytest.raises(ForbiddenError, match=f"NetworkPolicy {named} decides what runners reach"):
        await user.merge_patch(NETWORKPOLICIES, (GUARDED, named), {"spec": {"ingress": ANYWHERE}})
    await user.delete(NETWORKPOLICIES, (GUARDED, named))


async def test_they_write_all_others(callers: Callers) -> None:
    await (await callers.user(GUARDED)).create(NETWORKPOLICIES, foreign(GUARDED, name("own")))
