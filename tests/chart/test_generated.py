"""Generated files follow the code, and the table of rights keeps its promises."""

import subprocess
import sys
from pathlib import Path

import pytest

from agentsession import generate
from agentsession.api.schema import crds
from agentsession.resources import rbac
from tests.chart.helm import ROOT, render

pytestmark = pytest.mark.unit

ROLES = [role for roles in rbac.COMPONENTS.values() for role in roles]
RULES = [
    pytest.param(role, rule, id=f"{role.suffix}-{rule.resources[0]}-{rule.verbs[0]}")
    for role in ROLES
    for rule in role.rules
]


def test_the_repository_holds_what_the_code_says() -> None:
    assert generate.drift(ROOT) == ""


def test_a_difference_is_shown_with_its_file(tmp_path: Path) -> None:
    for path, text in generate.outputs().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert generate.drift(tmp_path) == ""
    (tmp_path / "manifests/rbac/users.yaml").write_text("edited by hand\n")
    difference = generate.drift(tmp_path)
    assert "--- manifests/rbac/users.yaml\n" in difference
    assert "-edited by hand\n" in difference


def test_check_exits_with_zero_on_agreement() -> None:
    command = [sys.executable, "-m", "agentsession.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT / "operator", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_charts_crds_are_those_of_the_models() -> None:
    rendered = [m for m in render() if m["kind"] == "CustomResourceDefinition"]
    assert [crd["spec"] for crd in rendered] == [crd["spec"] for crd in crds()]


def test_template_syntax_in_a_description_is_printed_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    crd = crds()[0]
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "as {{ .Values.x }} says"
    monkeypatch.setattr(generate, "crds", lambda: [crd])
    assert 'as {{ "{{" }} .Values.x }} says' in generate.outputs()[Path("charts/agentsession/templates/crds.yaml")]


@pytest.mark.parametrize(("role", "rule"), RULES)
def test_rights_are_spelled_out(role: rbac.RoleSpec, rule: rbac.Rule) -> None:
    assert "*" not in (rule.group, *rule.resources, *rule.verbs)
    assert rule.why


@pytest.mark.parametrize(("role", "rule"), RULES)
def test_secrets_are_named_ones_of_the_own_namespace(role: rbac.RoleSpec, rule: rbac.Rule) -> None:
    if "secrets" in rule.resources:
        assert role.namespaced
        assert rule.names


@pytest.mark.parametrize(("role", "rule"), RULES)
def test_the_egress_plane_writes_nothing(role: rbac.RoleSpec, rule: rbac.Rule) -> None:
    if role.suffix == "egress" and rule.resources != ("tokenreviews",):
        assert set(rule.verbs) <= set(rbac.READ)


def test_nobody_may_hand_out_rights() -> None:
    granted = {resource for role in ROLES for rule in role.rules for resource in rule.resources}
    dangerous = {
        "roles",
        "rolebindings",
        "clusterroles",
        "clusterrolebindings",
        "serviceaccounts/token",
        "pods/exec",
        "nodes",
    }
    assert not granted & dangerous
