"""What a Secret, or the want of one, means for a tenant, and what is said about it."""

import pytest

from agentsession.egress.credentials import judge
from agentsession.kube.errors import ApiError, ForbiddenError, NotFoundError, ServerError
from agentsession.kube.objects import KubeObject
from agentsession.resources.grants import grant_commands, grant_manifest

from . import build

pytestmark = pytest.mark.unit
INSTALL = build.installation("http://127.0.0.1:1", "https://api.anthropic.com")

CASES: dict[str, tuple[str, KubeObject | ApiError | None, str, str]] = {
    "ready": ("http://127.0.0.1:1", build.secret(), "Ready", ""),
    "ready, with a newline": ("http://127.0.0.1:1", build.secret(key=f"{build.KEY}\n"), "Ready", ""),
    "ready, one of several hosts": ("http://127.0.0.1:1", build.secret(hosts="a.example, 127.0.0.1"), "Ready", ""),
    "upstream": ("http://10.0.0.1:1", None, "UpstreamNotAllowed", "spec.provider.baseURL: the installer allows http"),
    "upstream, other port": ("http://127.0.0.1:2", build.secret(), "UpstreamNotAllowed", "baseURL"),
    "forbidden": ("http://127.0.0.1:1", ForbiddenError(403, "Forbidden", "no"), "GrantMissing", "create rolebinding"),
    "absent": (
        "http://127.0.0.1:1",
        NotFoundError(404, "NotFound", "no"),
        "SecretNotFound",
        "Secret team/key does not",
    ),
    "server away": ("http://127.0.0.1:1", ServerError(500, "", "no"), "Unknown", "tried again"),
    "other host": ("https://api.anthropic.com", build.secret(), "HostNotAllowed", "must name api.anthropic.com"),
    "host within another": ("http://127.0.0.1:1", build.secret(hosts="127.0.0.11"), "HostNotAllowed", "127.0.0.1"),
    "no hosts": ("http://127.0.0.1:1", {"metadata": {"name": "key"}, "data": {}}, "HostNotAllowed", "annotation"),
    "empty key": ("http://127.0.0.1:1", build.secret(key=" "), "KeyMissing", "'api-key'"),
    "two lines": ("http://127.0.0.1:1", build.secret(key="a\r\nx-other: b"), "KeyMissing", "one line"),
    "not text": ("http://127.0.0.1:1", build.secret(key="clé"), "KeyMissing", "ASCII"),
    "not base64": ("http://127.0.0.1:1", {**build.secret(), "data": {"api-key": "%"}}, "KeyMissing", "api-key"),
}


@pytest.mark.parametrize(("base_url", "secret", "state", "says"), CASES.values(), ids=CASES.keys())
def test_state_and_message(base_url: str, secret: KubeObject | ApiError | None, state: str, says: str) -> None:
    credential = judge(INSTALL, build.parsed_tenant(base_url), secret)
    found = credential.found
    assert (found.namespace, found.name, found.generation, found.state) == ("team", "default", 1, state)
    assert says in found.message
    assert "\n" not in found.message
    assert credential.key == (build.KEY if state == "Ready" else None)


def test_a_key_is_not_shown() -> None:
    assert build.KEY not in repr(judge(INSTALL, build.parsed_tenant("http://127.0.0.1:1"), build.secret()))


def test_the_grant_is_for_one_secret_and_one_account() -> None:
    role, binding = grant_manifest(INSTALL, "team", "key")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["key"], "verbs": ["get"]}]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "agentsession-egress", "namespace": "agentsession-system"}
    ]
    commands = grant_commands(INSTALL, "team", "key")
    assert "--resource-name=key" in commands
    assert "--serviceaccount=agentsession-system:agentsession-egress" in commands
    assert len(grant_commands(INSTALL, "n" * 63, "s" * 100)) < 900  # a condition's message has 1024 characters
