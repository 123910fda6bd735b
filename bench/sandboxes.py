"""agent-sandbox on the real node: its warm pods hold the same CLI, connected beforehand, with the key in their
environment; a client makes a claim, waits until it is Ready, and sends the prompt to the pod."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import aiohttp

from agentsession.kube.client import ApiClient
from agentsession.kube.objects import KubeObject, condition_of
from agentsession.kube.resource import NAMESPACES
from devcluster.demo import scene
from devcluster.kubectl import kubectl

from . import agentsandbox, sandboxed
from .node import PROMPT, SECONDS, Prepared

NAMESPACE = "agent-sandbox-bench"
POOL = "warm"
FOLDERS = {"work": "/work", "tmp": "/tmp"}  # noqa: S108 -- in the pod


def pod(image: str) -> dict[str, object]:
    """As hardened as a runner, and with its limits; but with the key, and with a network that nothing restricts."""
    environment = {
        "HOME": "/work",
        "MODEL": scene.MODEL,
        "ANTHROPIC_BASE_URL": scene.SCRIPTED_API,
        "ANTHROPIC_API_KEY": "bench",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    container = {
        "name": "agent",
        "image": image,
        "command": ["python", "-c", Path(sandboxed.__file__).read_text()],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "readinessProbe": {"tcpSocket": {"port": sandboxed.PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {**agentsandbox.RESTRICTED, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in FOLDERS.items()],
    }
    return {
        "containers": [container],
        "volumes": [{"name": name, "emptyDir": {}} for name in FOLDERS],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
    }


@asynccontextmanager
async def pool(prepared: Prepared, api: ApiClient, size: int) -> AsyncIterator[None]:
    """Controller, namespace and pool, while the block runs."""
    made = prepared.cluster
    async with agentsandbox.controller(made, api, agentsandbox.GATE):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": NAMESPACE, "labels": labels}
        await api.apply(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        template = agentsandbox.template(NAMESPACE, POOL, pod(prepared.runner), policy="Unmanaged")
        await api.apply(agentsandbox.TEMPLATES, template)
        await api.apply(agentsandbox.WARM_POOLS, agentsandbox.pool(NAMESPACE, POOL, size))
        try:
            yield
        finally:
            kubectl(made.kubeconfig, "delete", "namespace", NAMESPACE, "--wait")
            names = [crd["metadata"]["name"] for crd in agentsandbox.crds()]
            kubectl(made.kubeconfig, "delete", "customresourcedefinition", *names)


async def one(api: ApiClient, name: str) -> float:
    """A claim from its creation to the answer: when it was created, in seconds since the epoch."""
    created = time.time()
    claim = await api.create(agentsandbox.CLAIMS, agentsandbox.claim(NAMESPACE, name, POOL))
    address = await _address(api, claim)
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as http,
        http.post(f"http://{address}:{sandboxed.PORT}/", data=PROMPT) as response,
    ):
        await response.read()
    await api.delete(agentsandbox.CLAIMS, (NAMESPACE, name))
    return created


async def _address(api: ApiClient, claim: KubeObject) -> str:
    """Of the pod, once the claim is Ready."""
    version = claim["metadata"]["resourceVersion"]
    stream = api.watch(agentsandbox.CLAIMS, namespace=NAMESPACE, resource_version=version, seconds=int(SECONDS))
    async with aclosing(stream):
        async for event in stream:
            if event is not None and condition_of(event["object"], "Ready")[0] == "True":
                return str(event["object"]["status"]["sandbox"]["podIPs"][0])
    raise TimeoutError(f"{claim['metadata']['name']} is not Ready after {SECONDS:g} s")
