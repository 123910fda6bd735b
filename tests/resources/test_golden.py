"""What the builders make, whole, so that a review sees every change; valid by the API server's own description.

`UPDATE_GOLDEN=1 pytest tests/resources` writes the files anew.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession, AgentSessionStatus, WorkspaceStatus
from agentsession.api.tenant import AgentTenant
from agentsession.resources.grants import grant_manifest
from agentsession.resources.network import network_policy
from agentsession.resources.pod import session_pod
from agentsession.resources.surroundings import Surroundings
from agentsession.resources.tenancy import service_account, workspace_claim
from agentsession.sessions.offer import template_of
from agentsession_runner.protocol import ENV_RESUME, ENV_SESSION_ID
from devcluster import binaries
from tests.chart import schemas
from tests.sessions.build import INSTALL, known, session, tenant

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent / "golden"
SURROUNDINGS = Surroundings(egress_ip="10.96.0.9", canary_ip="10.96.0.8", api_server="10.96.0.1:443")
UID = 123_456
WORKSPACE = {"storageClassName": "fast", "size": "5Gi", "accessMode": "ReadWriteMany", "retain": "Delete"}


def made(session: AgentSession, tenant: AgentTenant, install: Installation, *more: Any) -> dict[str, object]:
    template = template_of(session, None)
    assert template is not None
    return session_pod(session, template, tenant, install, *more)


def plain_pod() -> dict[str, object]:
    """The smallest session."""
    return made(session(), tenant(), INSTALL, SURROUNDINGS, UID)


def full_pod() -> dict[str, object]:
    """Every choice that a session, its tenant and the installer have."""
    who = session(
        agent={
            "model": "m",
            "systemPrompt": "Costs $(WHAT) and $$.",
            "tools": ["Bash"],
            "allowedTools": ["Bash"],
            "outputFormat": {"jsonSchema": {"type": "object"}},
        },
        limits={"wallClock": "1h30m"},
        runtime={
            "image": "runner:2",
            "runtimeClassName": "gvisor",
            "resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "4Gi"}},
        },
    )
    chosen = INSTALL.runner.model_copy(update={"host_users": False, "image_pull_policy": "Always", "grace_seconds": 60})
    install = INSTALL.model_copy(update={"runner": chosen})
    return made(who, tenant(workspace=WORKSPACE), install, SURROUNDINGS, UID)


def resumed_pod() -> dict[str, object]:
    """A session that was suspended in the middle of a turn."""
    where = WorkspaceStatus(claim_name="agentsession-default", sub_path="w-9b7f6a52-6a3e-4a55-8c54-7d3c7ab00001")
    status = AgentSessionStatus(
        session_id="5a3f1b52-6a3e-4a55-8c54-7d3c7ab00003", workspace=where, turns=[known(state="Interrupted")]
    )
    return made(session(status), tenant(workspace=WORKSPACE), INSTALL, SURROUNDINGS, UID)


def environment(pod: Any) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0]["env"]}


def test_a_conversation_in_which_nothing_was_asked_is_begun_under_the_id_that_was_told() -> None:
    told = AgentSessionStatus(session_id="5a3f1b52-6a3e-4a55-8c54-7d3c7ab00003")
    fresh = environment(made(session(told), tenant(), INSTALL, SURROUNDINGS, UID))
    assert (fresh.get(ENV_SESSION_ID), fresh.get(ENV_RESUME)) == (told.session_id, None)
    again = environment(resumed_pod())
    assert (again.get(ENV_SESSION_ID), again.get(ENV_RESUME)) == (None, told.session_id)


def claim() -> dict[str, object]:
    """A workspace that goes with its tenant."""
    who = tenant(workspace=WORKSPACE)
    assert who.spec.workspace is not None
    return workspace_claim(who, who.spec.workspace)


CASES: dict[str, Callable[[], list[dict[str, object]]]] = {
    "pod": lambda: [plain_pod()],
    "pod-full": lambda: [full_pod()],
    "pod-resumed": lambda: [resumed_pod()],
    "network-policy": lambda: [network_policy("team", INSTALL)],
    "tenancy": lambda: [service_account("team"), claim()],
    "grant": lambda: grant_manifest(INSTALL, "team", "anthropic"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_reviewed(name: str) -> None:
    text = yaml.safe_dump_all(CASES[name](), sort_keys=False)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_every_object_is_valid(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    location = str(tmp_path / schemas.LOCATION)
    program = binaries.resolve(["kubeconform"])["kubeconform"]
    objects = [item for case in CASES.values() for item in case()]
    done = subprocess.run(
        [str(program), "-strict", "-summary", "-schema-location", location, "-"],
        input="\n---\n".join(json.dumps(item) for item in objects),  # YAML readers disagree on the namespace `n`
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"Valid: {len(objects)}," in done.stdout


@pytest.mark.parametrize("pod", [plain_pod(), full_pod()], ids=["plain", "full"])
def test_no_container_has_what_an_agent_must_not_have(pod: Any) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert (spec["dnsPolicy"], spec["dnsConfig"]) == ("None", {"nameservers": ["127.0.0.1"]})
    for container in [*spec["initContainers"], *spec["containers"]]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not any("secretKeyRef" in str(item) or "envFrom" in container for item in container["env"])
    (runner,) = spec["containers"]
    assert "token" not in [mount["name"] for mount in runner["volumeMounts"]]
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "projected", "persistentVolumeClaim"}


def test_dollars_in_a_prompt_are_not_expanded() -> None:
    pod: Any = full_pod()
    (options,) = [
        item["value"] for item in pod["spec"]["containers"][0]["env"] if item["name"] == "AGENTSESSION_OPTIONS"
    ]
    assert "Costs $$(WHAT) and $$$$." in options
