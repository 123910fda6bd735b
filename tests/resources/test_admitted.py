"""The API server admits what the builders make, where Pod Security "restricted" is enforced."""

from typing import Any

import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError
from agentsession.kube.resource import NAMESPACES, NETWORKPOLICIES, PODS, SERVICEACCOUNTS
from agentsession.resources.network import network_policy
from agentsession.resources.tenancy import service_account
from tests.sessions.build import INSTALL

from .test_golden import full_pod, plain_pod

pytestmark = pytest.mark.apiserver


@pytest.fixture
async def restricted(api: ApiClient, namespace: str) -> str:
    """A namespace that enforces it, and has the runners' account."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    await api.merge_patch(NAMESPACES, ("", namespace), {"metadata": {"labels": label}})
    await api.apply(SERVICEACCOUNTS, service_account(namespace))
    return namespace


def _placed(pod: Any, namespace: str) -> dict[str, Any]:
    metadata = {**pod["metadata"], "namespace": namespace}
    spec = {key: value for key, value in pod["spec"].items() if key != "runtimeClassName"}  # there is none here
    return {**pod, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("pod", [plain_pod(), full_pod()], ids=["plain", "full"])
async def test_a_runner_is_admitted(api: ApiClient, restricted: str, pod: dict[str, object]) -> None:
    await api.create(PODS, _placed(pod, restricted))


async def test_a_runner_with_less_is_not(api: ApiClient, restricted: str) -> None:
    """So the label above does hold pods back."""
    loose = _placed(plain_pod(), restricted)
    loose["spec"]["containers"][0]["securityContext"].pop("capabilities")
    with pytest.raises(ForbiddenError, match="restricted"):
        await api.create(PODS, loose)


async def test_the_policy_read_back_is_the_policy_applied(api: ApiClient, namespace: str) -> None:
    """Else the operator would write it again and again."""
    desired = network_policy(namespace, INSTALL)
    applied = await api.apply(NETWORKPOLICIES, desired)
    assert applied["spec"] == desired["spec"]
