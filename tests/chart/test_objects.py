"""What the rendered objects mean together: labels, ports and names on which the parts of the system rely."""

from typing import Any

import pytest
import yaml

from agentsession.api.installation import Installation
from agentsession.api.tenant import AgentTenantSpec
from tests.chart.helm import NAMESPACE, RELEASE, TENANT_API, Manifest, one, render, values_of

pytestmark = pytest.mark.unit

COMPONENTS = ["operator", "egress"]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render(values_of("everything"))


def installation(manifests: list[Manifest]) -> Installation:
    text = one(manifests, "ConfigMap", f"{RELEASE}-installation")["data"]["installation.yaml"]
    return Installation.model_validate(yaml.safe_load(text))


def pod_of(manifests: list[Manifest], component: str) -> Manifest:
    template: Manifest = one(manifests, "Deployment", f"{RELEASE}-{component}")["spec"]["template"]
    return template


@pytest.mark.parametrize("name", ["default", "minimal", "everything"])
def test_the_installation_file_is_what_the_programs_read(name: str) -> None:
    found = installation(render(values_of(name)))
    assert (found.name, found.namespace) == (RELEASE, NAMESPACE)


def test_numbers_among_the_runners_resources_become_quantities(manifests: list[Manifest]) -> None:
    limits = installation(manifests).runner.resources.limits
    assert limits is not None
    assert limits.cpu == "4"


def test_the_installation_names_objects_that_exist(manifests: list[Manifest]) -> None:
    found = installation(manifests)
    assert one(manifests, "ServiceAccount", found.egress_service_account)
    for endpoint in (found.egress, found.canary):
        ports = one(manifests, "Service", endpoint.service)["spec"]["ports"]
        assert [port["port"] for port in ports] == [endpoint.port]
    peers = one(manifests, "Service", f"{RELEASE}-egress-peers")
    assert found.egress.peers_url == f"http://{peers['metadata']['name']}.{NAMESPACE}.svc:{found.egress.control_port}"
    assert peers["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_installations_labels_select_the_pods(manifests: list[Manifest], component: str) -> None:
    found = installation(manifests)
    labels = {"operator": found.operator_labels, "egress": found.egress.pod_labels}[component]
    for name in COMPONENTS:
        pod_labels = pod_of(manifests, name)["metadata"]["labels"]
        assert (labels.items() <= pod_labels.items()) == (name == component)


def test_services_and_policies_point_at_ports_of_their_pods(manifests: list[Manifest]) -> None:
    pods = [pod_of(manifests, component) for component in COMPONENTS]
    for service in (m for m in manifests if m["kind"] == "Service"):
        (pod,) = (p for p in pods if service["spec"]["selector"].items() <= p["metadata"]["labels"].items())
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        (pod,) = (
            p for p in pods if policy["spec"]["podSelector"]["matchLabels"].items() <= p["metadata"]["labels"].items()
        )
        listened = {port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == listened


def test_only_runners_reach_the_model_route(manifests: list[Manifest]) -> None:
    ingress = one(manifests, "NetworkPolicy", f"{RELEASE}-egress")["spec"]["ingress"]
    (rule,) = (rule for rule in ingress if rule["ports"] == [{"port": 8080}])
    runners = {"matchLabels": {"agentsession.io/runner": "true"}}
    assert rule["from"] == [{"namespaceSelector": {}, "podSelector": runners}]


@pytest.mark.parametrize("component", COMPONENTS)
def test_pods_meet_pod_security_restricted(manifests: list[Manifest], component: str) -> None:
    spec = pod_of(manifests, component)["spec"]
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert all(volume.keys() & {"configMap", "emptyDir"} for volume in spec["volumes"])


def test_no_secret_is_rendered_or_mounted(manifests: list[Manifest]) -> None:
    assert "Secret" not in {m["kind"] for m in manifests}
    assert "secretKeyRef" not in yaml.safe_dump_all(manifests)


def test_a_digest_wins_over_the_tag() -> None:
    image = {"repository": "images.example/a", "tag": "v1", "digest": f"sha256:{'0' * 64}"}
    pod = pod_of(render({"image": image}), "egress")
    assert pod["spec"]["containers"][0]["image"] == f"images.example/a@sha256:{'0' * 64}"


def test_pods_restart_when_the_installation_changes() -> None:
    before, after = (
        pod_of(render({"upstreams": [url]}), "egress") for url in ("https://a.example", "https://b.example")
    )
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]


def tenants(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {
        m["metadata"]["name"]: m
        for m in manifests
        if m["kind"] == "AgentTenant" and m["metadata"]["namespace"] == "team-a"
    }


def test_tenants_are_what_the_models_accept(manifests: list[Manifest]) -> None:
    found = {name: AgentTenantSpec.model_validate(tenant["spec"]) for name, tenant in tenants(manifests).items()}
    assert set(found) == {"payments", "default"}
    assert found["payments"].sessions.max_concurrent == 3
    assert found["default"].provider.base_url == "https://models.example"  # the first of upstreams


def test_a_tenants_grant_is_for_its_secret_only(manifests: list[Manifest]) -> None:
    role = one(manifests, "Role", f"{RELEASE}-egress-payments")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["model-key"], "verbs": ["get"]}
    ]
    binding = one(manifests, "RoleBinding", f"{RELEASE}-egress-payments")
    assert binding["metadata"]["namespace"] == role["metadata"]["namespace"] == "team-a"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{RELEASE}-egress", "namespace": NAMESPACE}]


def test_created_namespaces_are_restricted_and_kept(manifests: list[Manifest]) -> None:
    namespace = one(manifests, "Namespace", "team-a")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespace["metadata"]["labels"]["agentsession.io/sessions"] == "allowed"
    assert namespace["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_namespace_of_two_tenants_is_one_object() -> None:
    tenant = {"namespace": "team-a", "createNamespace": True, "models": ["m"], "credentialSecret": {"name": "s"}}
    assert one(render({"tenants": [tenant, {**tenant, "name": "second"}]}), "Namespace", "team-a")


def test_tenants_are_hooks_only_until_their_kind_is_served() -> None:
    def annotations(api_versions: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = tenants(render(values_of("everything"), api_versions=api_versions))["payments"]
        return dict(found["metadata"]["annotations"])

    served, not_yet = annotations((TENANT_API,)), annotations(())
    assert not_yet.pop("helm.sh/hook") == "post-install,post-rollback"
    assert served == not_yet == {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE}


@pytest.mark.parametrize("keep", [True, False])
def test_crds_are_kept_if_asked(keep: bool) -> None:
    for crd in (m for m in render({"crds": {"keep": keep}}) if m["kind"] == "CustomResourceDefinition"):
        assert crd["metadata"].get("annotations", {}) == ({"helm.sh/resource-policy": "keep"} if keep else {})
