"""A control plane with the chart's rights and policies, and namespaces that they guard, or do not.

The bindings are the chart's but for one thing: they pass over namespaces with the label UNGUARDED. So every attack is
shown to work there, in the same moment in which it is refused next door.
"""

import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from agentsession.api.installation import Installation
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.resource import Resource
from agentsession.resources.tenancy import service_account
from devcluster.demo.scene import ALLOWED
from devcluster.kubectl import kubectl
from tests.chart.helm import NAMESPACE, RELEASE, Manifest, one, render

VALUES = {
    "runner": {
        "image": {"repository": "runner", "tag": "1"},
        "images": ["runner:2"],
        "runtimeClassNames": ["gvisor"],
        "hostUsers": False,
        "networkPolicies": ["vouched"],
    },
    "pools": {"sharedNamespaces": ["shared"]},
}
UNGUARDED = "tests.example/unguarded"
GUARDED, OPEN, ELSEWHERE, AT_WORK, SHARED = "guarded", "open", "elsewhere", "at-work", "shared"
LABELS = {GUARDED: ALLOWED, OPEN: {UNGUARDED: ""}, ELSEWHERE: {}, AT_WORK: ALLOWED, SHARED: ALLOWED}
VIEWER, EDITOR, NAMESPACE_ADMIN = "viewer", "editor", "namespace-admin"
ROLES = {VIEWER: "view", EDITOR: "edit", NAMESPACE_ADMIN: "admin"}
"""Service accounts of each namespace, and the role of Kubernetes' own that they have there."""


ADMISSION = "admissionregistration.k8s.io"
POLICIES = Resource(ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False)


def guards() -> list[Manifest]:
    """What the chart renders, without what needs a node, its bindings with the one exception."""
    passed_over = {"namespaceSelector": {"matchExpressions": [{"key": UNGUARDED, "operator": "DoesNotExist"}]}}
    made = [item for item in render(VALUES) if item["kind"] != "Deployment"]
    for item in made:
        if item["kind"] == "ValidatingAdmissionPolicyBinding":
            assert "matchResources" not in item["spec"], "the chart's bindings hold everywhere"
            item["spec"]["matchResources"] = passed_over
    return made


@functools.cache
def installation() -> Installation:
    """What the operator of that release reads."""
    text = one(render(VALUES), "ConfigMap", f"{RELEASE}-installation")["data"]["installation.yaml"]
    return Installation.model_validate(yaml.safe_load(text))


@dataclass(frozen=True)
class Guarded:
    """The cluster, with a token for each (namespace, service account)."""

    kubeconfig: Path
    tokens: dict[tuple[str, str], str]


def prepare(kubeconfig: Path) -> Guarded:
    """Apply the chart, make the namespaces, and fetch tokens from the API server."""
    made = guards()
    kubectl(kubeconfig, "create", "namespace", NAMESPACE)
    _apply(kubeconfig, [item for item in made if item["kind"] == "CustomResourceDefinition"])
    kubectl(kubeconfig, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    _apply(kubeconfig, [item for item in made if item["kind"] != "CustomResourceDefinition"])
    _apply(kubeconfig, [_runtime_class("gvisor"), _runtime_class("weak")])
    _apply(kubeconfig, [item for namespace in LABELS for item in _namespace(namespace)])
    accounts = [(namespace, account) for namespace in LABELS for account in ROLES]
    accounts += [(NAMESPACE, f"{RELEASE}-operator")]
    return Guarded(
        kubeconfig,
        {
            (namespace, account): kubectl(kubeconfig, "create", "token", account, "-n", namespace).strip()
            for namespace, account in accounts
        },
    )


def _apply(kubeconfig: Path, items: list[Manifest]) -> None:
    kubectl(kubeconfig, "apply", "--filename", "-", stdin=yaml.safe_dump_all(items))


def _runtime_class(name: str) -> Manifest:
    return {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": name}


def _namespace(name: str) -> list[Manifest]:
    """A namespace with its users, and in those of the attacks the runners' account."""
    group = "rbac.authorization.k8s.io"
    made: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS[name]}},
    ]
    if name in (GUARDED, OPEN, SHARED):
        made.append(service_account(name))
    for account, role in ROLES.items():
        metadata = {"name": account, "namespace": name}
        subject = {"kind": "ServiceAccount", **metadata}
        role_ref = {"apiGroup": group, "kind": "ClusterRole", "name": role}
        made += [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": role_ref,
                "subjects": [subject],
            },
        ]
    return made


@dataclass(frozen=True)
class Callers:
    """Clients: the administrator, and whoever has the operator's token. `user` makes those of a namespace's users."""

    admin: ApiClient
    operator: ApiClient
    _guarded: Guarded
    _stack: AsyncExitStack

    async def user(self, namespace: str, account: str = EDITOR) -> ApiClient:
        """A user with a role in that namespace alone."""
        return await _client(self._guarded, (namespace, account), self._stack)


@asynccontextmanager
async def calling(guarded: Guarded) -> AsyncIterator[Callers]:
    """Open the clients."""
    connection = Connection.from_kubeconfig(str(guarded.kubeconfig))
    async with AsyncExitStack() as stack:
        admin = ApiClient(connection.server, await stack.enter_async_context(connection.open()))
        operator = await _client(guarded, (NAMESPACE, f"{RELEASE}-operator"), stack)
        yield Callers(admin, operator, guarded, stack)


async def _client(guarded: Guarded, account: tuple[str, str], stack: AsyncExitStack) -> ApiClient:
    (cluster,) = (item["cluster"] for item in yaml.safe_load(guarded.kubeconfig.read_text())["clusters"])
    tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
    token = guarded.tokens[account]
    session = Connection(cluster["server"], tls, lambda: f"Bearer {token}").open()
    return ApiClient(cluster["server"], await stack.enter_async_context(session))
