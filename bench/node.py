"""The product on devcluster's node, with a namespace to measure in: how it is set up, and what can be read of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.objects import Key
from agentsession.kube.resource import LEASES, PODS, Resource
from devcluster import cluster, images, install, progress, project, settings
from devcluster.demo import scene
from devcluster.kubectl import kubectl
from devcluster.layout import Layout

from .objects import ready_in

NAMESPACE = "agentsession-bench"
PROMPT = "[[say: done]]"
"""The scripted model answers it in a word."""
SECONDS = 120.0
"""For a session, or for a pool to be full again."""
SCRAPED_PORT = 8081
MODEL_REQUESTS = "/api/v1/namespaces/scripted-model/services/scripted-model:8000/proxy/_requests"
WRITES = {"create", "apply", "apply_status", "merge_patch", "json_patch", "delete"}


@dataclass(frozen=True)
class Prepared:
    """A cluster with the product in it, and the image of its runners."""

    cluster: Layout
    runner: str


def set_up(at_once: int) -> Prepared:
    """Cluster up, images loaded, scripted model running, chart installed with a tenant in NAMESPACE."""
    made = cluster.up(settings.state_dir())
    built = project.build(project.DOCKERFILES)
    for image in built.values():
        images.load(image)
    scene.start_scripted_model(made.kubeconfig, built["scripted"].reference)
    scene.give_secret(made.kubeconfig, NAMESPACE, scene.Provider(scene.SCRIPTED_API, scene.SCRIPTED_HOST, "bench"))
    tenant = {
        "namespace": NAMESPACE,
        "models": [scene.MODEL],
        "baseURL": scene.SCRIPTED_API,
        "credentialSecret": {"name": scene.SECRET, "key": "api-key"},
        "maxConcurrent": at_once,
    }
    wanted = install.image_values(built["operator"].reference, built["runner"].reference)
    values: dict[str, object] = {"upstreams": [scene.REAL_API, scene.SCRIPTED_API], "tenants": [tenant]}
    install.install(made.kubeconfig, install.merge(install.SMALL, wanted, values))
    return Prepared(made, built["runner"].reference)


def measured(at_once: int, measure: Callable[[Prepared], Coroutine[None, None, None]]) -> None:
    """Measure on the node that `set_up` makes ready, among no sessions and pools of an earlier run; and leave none."""
    prepared = set_up(at_once)
    _forget(prepared.cluster.kubeconfig)
    try:
        asyncio.run(measure(prepared))
    finally:
        _forget(prepared.cluster.kubeconfig)


def _forget(kubeconfig: Path) -> None:
    with progress.step("deleting what an earlier run left, or this one"):
        kubectl(kubeconfig, "delete", "agentsessions,agentpools", "--all", "--namespace", NAMESPACE, "--wait")


@dataclass(frozen=True)
class Sample:
    """What one process had used when it was asked. Seconds of CPU, bytes resident, API writes by (verb, resource)."""

    cpu: float = 0.0
    memory: float = 0.0
    writes: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """An administrator's view of the cluster."""

    api: ApiClient
    _http: aiohttp.ClientSession
    _server: str

    @classmethod
    @asynccontextmanager
    async def of(cls, kubeconfig: Path) -> AsyncIterator["Node"]:
        """Connected while the block runs."""
        connection = Connection.from_kubeconfig(str(kubeconfig))
        async with connection.open() as http:
            yield cls(ApiClient(connection.server, http), http, connection.server)

    async def processes(self) -> dict[str, str]:
        """Pods of the operator and the egress plane by role: the leader, those that stand by, the egress processes.

        Waits until an upgrade is over: until the Lease is held by a pod that is not ending.
        """
        while True:
            operators, egress = await self._component("operator"), await self._component("egress")
            lease = await self.api.get(LEASES, (install.NAMESPACE, f"{install.RELEASE}-operator"))
            leader = (lease["spec"].get("holderIdentity") or "").partition("_")[0]
            if leader in operators:
                standing_by = [name for name in operators if name != leader]
                roles = {"leader": leader}
                roles |= {f"standby {number}": name for number, name in enumerate(standing_by, 1)}
                return roles | {f"egress {number}": name for number, name in enumerate(egress, 1)}
            await asyncio.sleep(0.5)

    async def samples(self, processes: Mapping[str, str]) -> dict[str, Sample]:
        """All processes, by role."""
        return dict(zip(processes, await asyncio.gather(*map(self._sample, processes.values())), strict=True))

    async def log(self, pod: str, container: str) -> list[str]:
        """The lines of a container of NAMESPACE, each led by the time that the container runtime got it; none if the
        pod is gone."""
        url = URL(f"{self._server}{PODS.path((NAMESPACE, pod), 'log')}") % {
            "container": container,
            "timestamps": "true",
        }
        async with self._http.get(url) as response:
            return (await response.text()).splitlines() if response.status == 200 else []

    async def settled(self, pools: Resource, key: Key, size: int) -> None:
        """Wait until that pool is full, and no other pod is in its namespace."""
        async with asyncio.timeout(SECONDS):
            while True:
                pods = (await self.api.list(PODS, namespace=key[0])).items
                if await ready_in(self.api, pools, key) == size == len(pods):
                    return
                await asyncio.sleep(0.2)

    async def until_asked(self, ask: Callable[[], Awaitable[float]]) -> float:
        """Seconds from the creation of what is asked, which `ask` returns in seconds since the epoch, to the first
        request that the scripted model gets for it."""
        async with self._http.delete(URL(self._server + MODEL_REQUESTS), raise_for_status=True):
            pass
        created = await ask()
        async with self._http.get(URL(self._server + MODEL_REQUESTS), raise_for_status=True) as response:
            found = [item for item in await response.json() if item["path"] == "/v1/messages"]
        return datetime.fromisoformat(found[0]["time"]).timestamp() - created

    async def _component(self, name: str) -> list[str]:
        selector = f"app.kubernetes.io/component={name}"
        found = await self.api.list(PODS, namespace=install.NAMESPACE, label_selector=selector)
        return sorted(pod["metadata"]["name"] for pod in found.items if "deletionTimestamp" not in pod["metadata"])

    async def _sample(self, pod: str) -> Sample:
        path = PODS.path((install.NAMESPACE, f"{pod}:{SCRAPED_PORT}"), "proxy/metrics")
        async with self._http.get(URL(self._server + path), raise_for_status=True) as response:
            return parsed(await response.text())


def parsed(exposition: str) -> Sample:
    """A sample from the Prometheus text format. Leases are no session's cost and left out of the writes."""
    found = [sample for family in text_string_to_metric_families(exposition) for sample in family.samples]
    plain = {sample.name: sample.value for sample in found}
    writes: dict[tuple[str, str], float] = {}
    for sample in found:
        verb, resource = sample.labels.get("verb", ""), sample.labels.get("resource", "")
        if sample.name == "agentsession_kube_requests_total" and verb in WRITES and resource != "leases":
            writes[verb, resource] = writes.get((verb, resource), 0.0) + sample.value
    return Sample(plain["process_cpu_seconds_total"], plain["process_resident_memory_bytes"], writes)
