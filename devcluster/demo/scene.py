"""What the demonstration sets up: the scripted model, tenants with their Secrets, example sessions."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from devcluster.images import REPOSITORY
from devcluster.kubectl import kubectl

EXAMPLES = REPOSITORY / "manifests" / "examples"
SCRIPT = Path(__file__).with_name("script.yaml")
MANIFEST = REPOSITORY / "devcluster" / "scripted" / "manifest.yaml"
MANIFEST_IMAGE = "localhost/agentsession/scripted:dev"
MODEL = "claude-sonnet-4-5"
SECRET = "anthropic"  # noqa: S105
REAL_HOST = "api.anthropic.com"
REAL_API = f"https://{REAL_HOST}"
HOSTS = "agentsession.io/hosts"
ALLOWED = {"agentsession.io/sessions": "allowed"}
"""The label of a namespace in which sessions may run."""
SCRIPTED_HOST = "scripted-model.scripted-model.svc"
SCRIPTED_API = f"http://{SCRIPTED_HOST}:8000"


@dataclass(frozen=True)
class Provider:
    """Whom the tenants' keys are for."""

    base_url: str
    host: str
    key: str


TEAM_A, TEAM_B = "agentsession-demo-a", "agentsession-demo-b"
SESSIONS = {
    TEAM_A: ["answer", "conversation"],
    TEAM_B: ["tool", "wrong"],
}
"""Example sessions by the namespace they are applied to."""


def tenants(provider: Provider) -> dict[str, object]:
    """Chart values: a tenant in each namespace, and the provider among the upstreams."""
    return {
        "upstreams": sorted({REAL_API, provider.base_url}),
        "tenants": [
            {
                "namespace": namespace,
                "models": [MODEL],
                "baseURL": provider.base_url,
                "credentialSecret": {"name": SECRET, "key": "api-key"},
            }
            for namespace in SESSIONS
        ],
    }


def scripted_model(image: str) -> list[dict[str, object]]:
    """The objects of the scripted model, with that image and the demonstration's script."""
    name = "scripted-model"
    namespace, *rest = yaml.safe_load_all(MANIFEST.read_text().replace(MANIFEST_IMAGE, image))
    script: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": name},
        "data": {"script.yaml": SCRIPT.read_text()},
    }
    return [namespace, script, *rest]


def apply(kubeconfig: Path, *objects: dict[str, object]) -> None:
    """`kubectl apply` of some objects."""
    kubectl(kubeconfig, "apply", "--filename", "-", stdin=yaml.safe_dump_all(objects))


def start_scripted_model(kubeconfig: Path, image: str) -> None:
    """Run the scripted model and wait until it answers."""
    apply(kubeconfig, *scripted_model(image))
    kubectl(kubeconfig, "rollout", "status", "deployment/scripted-model", "-n", "scripted-model", "--timeout=120s")


def give_secret(kubeconfig: Path, namespace: str, provider: Provider) -> None:
    """A tenant's namespace and its key, with the host that it may be sent to. Tenants wait for it, helm for them."""
    labels = {**ALLOWED, "pod-security.kubernetes.io/enforce": "restricted"}
    apply(
        kubeconfig,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace, "annotations": {HOSTS: provider.host}},
            "stringData": {"api-key": provider.key},
        },
    )


def apply_example(kubeconfig: Path, namespace: str, name: str) -> None:
    """`kubectl apply` of one of manifests/examples."""
    kubectl(kubeconfig, "apply", "--namespace", namespace, "--filename", str(EXAMPLES / f"{name}.yaml"))


def say_more(kubeconfig: Path, namespace: str, session: str, turn: str, prompt: str) -> None:
    """Append a follow-up to a session."""
    item = {"id": turn, "prompt": prompt}
    patch = json.dumps([{"op": "add", "path": "/spec/followUps", "value": [item]}])
    kubectl(kubeconfig, "patch", "agentsession", session, "--namespace", namespace, "--type=json", "--patch", patch)


def sessions(kubeconfig: Path) -> list[dict[str, object]]:
    """All sessions of the demonstration, as the API server has them."""
    listed: list[dict[str, object]] = json.loads(kubectl(kubeconfig, "get", "agentsessions", "-A", "-o", "json"))[
        "items"
    ]
    return [item for item in listed if item["metadata"]["namespace"] in SESSIONS]  # type: ignore[index]


def forget_sessions(kubeconfig: Path) -> None:
    """Delete what an earlier demonstration left, and wait until it is gone."""
    for namespace, names in SESSIONS.items():
        arguments = ["--namespace", namespace, "--ignore-not-found", "--wait", "--timeout=60s"]
        kubectl(kubeconfig, "delete", "agentsessions", *names, *arguments)
