"""The chart on a real API server, which has the last word on CRDs, ownership, rights and Pod Security."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentsession.resources import rbac
from devcluster import binaries, install
from devcluster.controlplane import ControlPlane
from tests.chart.helm import CHART, NAMESPACE, RELEASE, program, render

pytestmark = pytest.mark.apiserver

TENANT = {
    "namespace": "team-a",
    "createNamespace": True,
    "models": ["claude-sonnet-4-5"],
    "credentialSecret": {"name": "model-key"},
}
OPERATOR, EGRESS = (f"system:serviceaccount:{NAMESPACE}:{RELEASE}-{name}" for name in ("operator", "egress"))


class Cluster:
    """An API server of this module's own: CRDs are cluster-wide, and this is about a cluster that has none yet."""

    def __init__(self, kubeconfig: Path) -> None:
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self.programs = {"helm": program(), "kubectl": str(binaries.resolve(["kubectl"])["kubectl"])}

    def run(self, name: str, *arguments: str, stdin: object = None) -> subprocess.CompletedProcess[str]:
        text = "" if stdin is None else yaml.safe_dump(stdin)
        command = [self.programs[name], *arguments]
        return subprocess.run(command, env=self.environment, input=text, capture_output=True, text=True, check=False)

    def install(self, *tenants: dict[str, Any]) -> None:
        """Install, or upgrade."""
        command = ["upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace"]
        done = self.run("helm", *command, "--values", "-", stdin={"tenants": list(tenants)})
        assert done.returncode == 0, done.stderr

    def tenants(self) -> dict[str, dict[str, Any]]:
        listed = self.run("kubectl", "get", "agenttenants", "-A", "-o", "yaml")
        assert listed.returncode == 0, listed.stderr
        return {item["metadata"]["name"]: item for item in yaml.safe_load(listed.stdout)["items"]}

    def may(self, account: str, verb: str, target: str, namespace: str = "", subresource: str = "") -> bool:
        """What the API server's own authorizer says; no namespace means all. target: RESOURCE[.GROUP][/NAME]."""
        where = ["--namespace", namespace] if namespace else ["--all-namespaces"]
        arguments = [verb, target, "--subresource", subresource, "--as", account, *where]
        return self.run("kubectl", "auth", "can-i", *arguments).stdout.strip() == "yes"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ControlPlane(tmp_path_factory.mktemp("chart") / "plane") as plane:
        cluster = Cluster(plane.kubeconfig)
        cluster.install(TENANT)
        yield cluster


def test_a_first_install_makes_tenants_which_later_upgrades_own(cluster: Cluster) -> None:
    (first,) = cluster.tenants().values()
    cluster.install({**TENANT, "maxConcurrent": 3})
    (second,) = cluster.tenants().values()
    assert second["spec"]["sessions"]["maxConcurrent"] == 3
    assert second["metadata"]["uid"] == first["metadata"]["uid"], "replaced: running sessions would have lost it"

    cluster.install({**TENANT, "name": "other"})
    assert set(cluster.tenants()) == {"other"}
    cluster.install(TENANT)


def test_a_helm_that_was_killed_keeps_no_later_one_out(cluster: Cluster) -> None:
    """As `make demo` finds it when it is run again after a crash."""
    upgrade = ["upgrade", RELEASE, str(CHART), "--namespace", NAMESPACE, "--wait"]  # for pods, which nobody makes here
    pending = ["get", "secrets", "-n", NAMESPACE, "-l", "owner=helm,status=pending-upgrade", "-o", "name"]
    with subprocess.Popen([cluster.programs["helm"], *upgrade], env=cluster.environment) as helm:
        while not cluster.run("kubectl", *pending).stdout:
            assert helm.poll() is None
        helm.kill()
    assert "another operation" in cluster.run("helm", *upgrade).stderr
    install.forget_killed(Path(cluster.environment["KUBECONFIG"]))
    cluster.install(TENANT)


def test_the_operator_makes_its_own_secrets_and_no_others(cluster: Cluster) -> None:
    def apply(name: str, namespace: str = NAMESPACE) -> subprocess.CompletedProcess[str]:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
        # Without validation, because that would read the API's description, which is not the operator's business.
        arguments = ["apply", "--server-side", "--validate=false", "--as", OPERATOR, "-f", "-"]
        return cluster.run("kubectl", *arguments, stdin=secret)

    for name in (f"{RELEASE}-operator-keys", f"{RELEASE}-egress-keys"):
        assert apply(name).returncode == 0
    assert "forbidden" in apply("another").stderr
    assert "forbidden" in apply(f"{RELEASE}-operator-keys", "team-a").stderr


@pytest.mark.parametrize("account", [OPERATOR, EGRESS])
def test_no_account_reads_secrets_at_large(cluster: Cluster, account: str) -> None:
    for verb in ("get", "list", "watch"):
        for namespace in ("", NAMESPACE, "team-a"):
            assert not cluster.may(account, verb, "secrets", namespace=namespace)


def test_a_tenants_secret_is_the_egress_planes_to_get_and_nobody_elses(cluster: Cluster) -> None:
    assert cluster.may(EGRESS, "get", "secrets/model-key", "team-a")
    assert not cluster.may(EGRESS, "get", "secrets/another", "team-a")
    assert not cluster.may(EGRESS, "get", "secrets/model-key", "default")
    assert not cluster.may(OPERATOR, "get", "secrets/model-key", "team-a")


def test_who_administers_a_namespace_scales_its_pools(cluster: Cluster) -> None:
    spec = {"template": {"agent": {"model": "claude-sonnet-4-5"}}}
    metadata = {"name": "writers", "namespace": "team-a"}
    pool = {"apiVersion": "agentsession.io/v1alpha1", "kind": "AgentPool", "metadata": metadata, "spec": spec}
    assert cluster.run("kubectl", "create", "-f", "-", stdin=pool).returncode == 0
    for role in ("edit", "admin"):
        binding = ["create", "rolebinding", role, "--clusterrole", role, "--user", role, "-n", "team-a"]
        assert cluster.run("kubectl", *binding).returncode == 0
    scale = ["scale", "agp", "writers", "--replicas", "5", "-n", "team-a", "--as"]
    assert "cannot patch" in cluster.run("kubectl", *scale, "edit").stderr
    done = cluster.run("kubectl", *scale, "admin")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("component", ["operator", "egress"])
def test_each_row_of_the_table_is_in_force(cluster: Cluster, component: str) -> None:
    account = {"operator": OPERATOR, "egress": EGRESS}[component]
    rows = [(role, rule) for role in rbac.COMPONENTS[component] for rule in role.rules]
    for role, rule in rows:
        namespace = NAMESPACE if role.namespaced else ""
        names = [f"/{RELEASE}-{suffix}" for suffix in rule.names] or [""]
        for resource, name, verb in itertools.product(rule.resources, names, rule.verbs):
            kind, _, subresource = resource.partition("/")
            target = f"{kind}.{rule.group}{name}" if rule.group else f"{kind}{name}"
            assert cluster.may(account, verb, target, namespace, subresource), (verb, resource, name)


def test_pod_security_restricted_has_nothing_to_warn_of(cluster: Cluster) -> None:
    assert cluster.run("kubectl", "create", "namespace", "restricted").returncode == 0
    label = "pod-security.kubernetes.io/warn=restricted"
    assert cluster.run("kubectl", "label", "namespace", "restricted", label).returncode == 0

    def warnings(deployment: dict[str, Any]) -> str:
        moved = {**deployment, "metadata": {"name": deployment["metadata"]["name"], "namespace": "restricted"}}
        done = cluster.run("kubectl", "create", "--dry-run=server", "-f", "-", stdin=moved)
        assert done.returncode == 0, done.stderr
        return done.stderr

    for deployment in (m for m in render() if m["kind"] == "Deployment"):
        assert warnings(deployment) == ""
        del deployment["spec"]["template"]["spec"]["securityContext"]
        assert "would violate PodSecurity" in warnings(deployment)
