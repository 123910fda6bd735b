"""An egress process against a real API server, with its own account and no more rights than the chart gives it."""

import asyncio
import base64
import contextlib
import functools
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from agentsession.api.installation import Installation
from agentsession.api.schema import crds
from agentsession.egress import process
from agentsession.keyrings import ensure_keyrings
from agentsession.keys.grant import Grant
from agentsession.keys.keyring import Keyring
from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.objects import KubeObject, uid_of
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, PODS, SERVICEACCOUNTS
from agentsession.resources.names import GRANT_ANNOTATION, RUNNER_LABEL, RUNNER_SERVICE_ACCOUNT
from agentsession.resources.rbac import COMPONENTS, objects
from tests.kube.kinds import BY_KIND, CRDS

from . import build

IMAGE = "runner:1"


@dataclass
class Cluster:
    """A namespace with an installation and a tenant in it, seen as administrator."""

    api: ApiClient
    admin: Connection
    kubeconfig: Path
    namespace: str
    installation: Installation
    operator: Keyring

    @property
    def url(self) -> str:
        """The runner-facing port."""
        return f"http://{build.ADDRESS}:{self.installation.egress.port}"

    @property
    def control_url(self) -> str:
        """The control port."""
        return f"http://{build.ADDRESS}:{self.installation.egress.control_port}"

    async def token(self, account: str, audience: str | None = None, pod: KubeObject | None = None) -> str:
        """A token of that service account by TokenRequest, as the kubelet asks for one."""
        spec: dict[str, Any] = {"expirationSeconds": 600}
        if audience is not None:
            spec["audiences"] = [audience]
        if pod is not None:
            bound = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": uid_of(pod)}
            spec["boundObjectRef"] = bound
        path = SERVICEACCOUNTS.path((self.namespace, account), "token")
        async with (
            self.admin.open() as session,
            session.post(f"{self.admin.server}{path}", json={"spec": spec}, raise_for_status=True) as answer,
        ):
            token: str = (await answer.json())["status"]["token"]
            return token

    async def egress_connection(self) -> Connection:
        """The egress plane's own: its account's token, no client certificate."""
        token = await self.token(self.installation.egress_service_account)
        cluster = yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        if data := cluster.get("certificate-authority-data"):
            tls = ssl.create_default_context(cadata=base64.b64decode(data).decode())
        else:
            tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        return replace(self.admin, tls=tls, read_authorization=lambda: f"Bearer {token}")

    async def pod(self, name: str = "a", *, address: str | None = build.ADDRESS, account: str = "") -> KubeObject:
        """A runner pod that runs nowhere, at that address."""
        spec = {
            "serviceAccountName": account or RUNNER_SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "schedulerName": "nobody",
            "containers": [{"name": "runner", "image": IMAGE}],
        }
        metadata = {"name": name, "namespace": self.namespace, "labels": {RUNNER_LABEL: "true"}}
        made = await self.api.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        if address is not None:
            status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
            await self.api.apply_status(PODS, (self.namespace, name), status, uid=uid_of(made))
        return made

    async def session(self, name: str = "a") -> KubeObject:
        """An AgentSession."""
        metadata = {"name": name, "namespace": self.namespace}
        spec = {"prompt": "hello", "agent": {"model": build.MODEL}}
        body = {"apiVersion": AGENTSESSIONS.api_version, "kind": "AgentSession", "metadata": metadata, "spec": spec}
        return await self.api.create(AGENTSESSIONS, body)

    async def tenant(self, base_url: str) -> KubeObject:
        """The AgentTenant `default`, with a Secret that need not exist."""
        metadata = {"name": "default", "namespace": self.namespace}
        provider = {"baseURL": base_url, "credentialSecretRef": {"name": "key"}, "models": [build.MODEL]}
        body = {
            "apiVersion": AGENTTENANTS.api_version,
            "kind": "AgentTenant",
            "metadata": metadata,
            "spec": {"provider": provider},
        }
        return await self.api.create(AGENTTENANTS, body)

    async def claim(self, pod: KubeObject, session: KubeObject, tenant: KubeObject) -> None:
        """The patch with which the operator has a pod serve a session."""
        name = pod["metadata"]["name"]
        grant = Grant(
            pod_uid=uid_of(pod),
            session_uid=uid_of(session),
            session_name=session["metadata"]["name"],
            namespace=self.namespace,
            tenant=tenant["metadata"]["name"],
            tenant_uid=uid_of(tenant),
            epoch=1,
        )
        annotations = {GRANT_ANNOTATION: grant.sign(self.operator)}
        await self.api.merge_patch(PODS, (self.namespace, name), {"metadata": {"annotations": annotations}})

    async def apply_all(self, manifests: list[dict[str, Any]]) -> None:
        """Apply RBAC objects."""
        for manifest in manifests:
            await self.api.apply(BY_KIND[manifest["kind"]], manifest)


@contextlib.asynccontextmanager
async def installed(
    api: ApiClient, admin: Connection, kubeconfig: Path, namespace: str, upstream: str
) -> AsyncIterator[Cluster]:
    """An installation in `namespace`: CRDs, accounts, rights, keys."""
    port, control_port = free_ports(2)
    name = f"test-{secrets.token_hex(4)}"  # cluster roles of tests that run at the same time must not meet
    installation = build.installation(upstream, port=port, control_port=control_port).model_copy(
        update={"name": name, "namespace": namespace, "egress_service_account": f"{name}-egress"}
    )
    for crd in crds():
        await api.apply(CRDS, crd)
    for account in (installation.egress_service_account, RUNNER_SERVICE_ACCOUNT):
        metadata = {"name": account, "namespace": namespace}
        await api.apply(SERVICEACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    for crd in crds():
        await eventually(functools.partial(is_served, api, crd))
    cluster = Cluster(api, admin, kubeconfig, namespace, installation, await ensure_keyrings(api, installation))
    manifests: list[dict[str, Any]] = [
        manifest for role in COMPONENTS["egress"] for manifest in objects(role, name, namespace)
    ]
    await cluster.apply_all(manifests)
    try:
        yield cluster
    finally:
        for manifest in manifests:
            if manifest["kind"].startswith("Cluster"):
                await api.delete(BY_KIND[manifest["kind"]], ("", manifest["metadata"]["name"]))


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def is_served(api: ApiClient, crd: KubeObject) -> bool:
    """Whether objects of that kind can be made."""
    found = await api.get(CRDS, ("", crd["metadata"]["name"]))
    conditions = found.get("status", {}).get("conditions", [])
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


@contextlib.asynccontextmanager
async def egress_process(cluster: Cluster) -> AsyncIterator[asyncio.Event]:
    """The whole process, in this event loop; the event stops it, and leaving waits until it has drained."""
    stop = asyncio.Event()
    serving = asyncio.create_task(process.serve(cluster.installation, await cluster.egress_connection(), stop))
    try:
        async with aiohttp.ClientSession(cluster.control_url) as control:
            await eventually(lambda: _is_ready(control))
        yield stop
    finally:
        stop.set()
        await serving


async def _is_ready(control: aiohttp.ClientSession) -> bool:
    try:
        async with control.get("/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectorError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    bound = [socket.create_server((build.ADDRESS, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in bound]
    for each in bound:
        each.close()
    return ports
