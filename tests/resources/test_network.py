"""Which NetworkPolicies of others widen what a runner reaches."""

from typing import Any

import pytest

from agentsession.resources.names import NETWORK_POLICY, RUNNER_LABEL
from agentsession.resources.network import network_policy, widened_by, widened_message
from tests.sessions.build import INSTALL

pytestmark = pytest.mark.unit

LABELS = {RUNNER_LABEL: "true", "agentsession.io/tenant": "default", "app": "x"}
RULE: list[dict[str, Any]] = [{}]


def policy(name: str = "foreign", selector: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    rules = spec or {"egress": RULE, "policyTypes": ["Egress"]}
    return {"metadata": {"name": name}, "spec": {"podSelector": selector or {}, **rules}}


def selecting(**expression: Any) -> dict[str, Any]:
    return {"matchExpressions": [expression]}


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"matchLabels": {}},
        {"matchLabels": {RUNNER_LABEL: "true"}},
        {"matchLabels": {"app": "x", "agentsession.io/tenant": "default"}},
        selecting(key="app", operator="In", values=["w", "x"]),
        selecting(key="app", operator="NotIn", values=["w"]),
        selecting(key="missing", operator="NotIn", values=["w"]),
        selecting(key="app", operator="Exists"),
        selecting(key="missing", operator="DoesNotExist"),
        selecting(key="app", operator="OfALaterKubernetes"),
    ],
    ids=str,
)
def test_one_that_selects_the_pod_widens(selector: dict[str, Any]) -> None:
    assert widened_by([policy(selector=selector)], LABELS, []) == "foreign"


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"app": "y"}},
        {"matchLabels": {"missing": "x"}},
        {"matchLabels": {"app": "x", "missing": "x"}},
        selecting(key="app", operator="In", values=["w"]),
        selecting(key="missing", operator="In", values=["x"]),
        selecting(key="app", operator="NotIn", values=["w", "x"]),
        selecting(key="missing", operator="Exists"),
        selecting(key="app", operator="DoesNotExist"),
        selecting(key=RUNNER_LABEL, operator="DoesNotExist"),
        {"matchLabels": {"app": "x"}, **selecting(key=RUNNER_LABEL, operator="DoesNotExist")},
    ],
    ids=str,
)
def test_one_that_does_not_select_it_widens_nothing(selector: dict[str, Any]) -> None:
    assert widened_by([policy(selector=selector)], LABELS, []) is None


@pytest.mark.parametrize(
    ("spec", "widens"),
    [
        ({"policyTypes": ["Ingress"]}, False),
        ({"policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []}, False),
        ({"policyTypes": ["Egress"], "egress": RULE}, True),
        ({"policyTypes": ["Ingress", "Egress"], "ingress": RULE}, True),
        ({"ingress": [{"ports": [{"port": 80}]}]}, True),
        ({"policyTypes": ["Ingress"], "egress": RULE}, True),  # what a plugin makes of it is its own affair
    ],
    ids=str,
)
def test_only_rules_widen(spec: dict[str, Any], *, widens: bool) -> None:
    assert (widened_by([policy(**spec)], LABELS, []) is not None) == widens


def test_the_operators_own_and_those_that_the_installer_lists_do_not_count() -> None:
    own = network_policy("n", INSTALL)
    assert widened_by([own, policy("b"), policy("a")], LABELS, []) == "a"
    assert widened_by([own, policy("b"), policy("a")], LABELS, ["a", "b"]) is None
    assert own["metadata"]["name"] == NETWORK_POLICY  # type: ignore[index]


def test_the_remedy_of_the_message_is_one() -> None:
    remedy = widened_message("foreign").partition("podSelector.matchExpressions: [{")[2].partition("}]")[0]
    expression = dict(part.split(": ") for part in remedy.split(", "))
    assert widened_by([policy(selector=selecting(**expression))], LABELS, []) is None
