"""The installation's own pods: who leads, how to kill one, what it wrote, and which runners there were."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from agentsession.kube.client import ApiClient
from agentsession.kube.objects import KubeObject, controller_of
from agentsession.kube.resource import LEASES, PODS
from agentsession.resources.names import GRANT_ANNOTATION, RUNNER_LABEL
from devcluster.install import NAMESPACE as SYSTEM
from devcluster.install import RELEASE

from .world import SECONDS, World

LEASE = (SYSTEM, f"{RELEASE}-operator")
WRITES = {"create", "apply", "apply_status", "merge_patch", "json_patch", "delete"}


async def pods(world: World, component: str) -> list[KubeObject]:
    """The pods of a component that are ready and are to stay."""
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}"
    found = (await world.api.list(PODS, namespace=SYSTEM, label_selector=selector)).items
    return [pod for pod in found if _ready(pod) and "deletionTimestamp" not in pod["metadata"]]


def _ready(pod: KubeObject) -> bool:
    return any(item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions", []))


async def leader(world: World) -> KubeObject:
    """The operator's leading pod."""
    holder = await holder_of(world)
    async with asyncio.timeout(SECONDS):
        while True:
            for pod in await pods(world, "operator"):
                if holder.startswith(pod["metadata"]["name"] + "_"):
                    return pod
            await asyncio.sleep(0.1)
            holder = await holder_of(world)


async def holder_of(world: World) -> str:
    """Who holds the Lease; empty if nobody does."""
    return str((await world.api.get(LEASES, LEASE))["spec"].get("holderIdentity") or "")


async def another_leads(world: World, holder: str) -> None:
    """Wait for another holder than this."""
    async with asyncio.timeout(SECONDS):
        while await holder_of(world) in (holder, ""):
            await asyncio.sleep(0.02)


async def all_ready(world: World, component: str, replicas: int = 2) -> None:
    """Wait until so many pods of a component are ready."""
    async with asyncio.timeout(SECONDS):
        while len(await pods(world, component)) < replicas:
            await asyncio.sleep(0.1)


def send(pod: KubeObject, signum: signal.Signals, process: str = "operator") -> None:
    """Send a signal to the processes of a pod that have such a word, or program, in their command lines; past its init
    process, which would not pass SIGKILL on. Raises LookupError if there is none."""
    uid, sent = pod["metadata"]["uid"], 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            words = [Path(os.fsdecode(word)).name for word in (entry / "cmdline").read_bytes().split(b"\0")]
            if process in words and "tini" not in words[0] and _in_cgroup(entry, uid):
                os.kill(int(entry.name), signum)
                sent += 1
    if not sent:
        raise LookupError(f"no process {process} in pod {pod['metadata']['name']}")


def _in_cgroup(process: Path, pod_uid: str) -> bool:
    groups = (process / "cgroup").read_text()
    return pod_uid in groups or pod_uid.replace("-", "_") in groups


async def writes(world: World) -> dict[str, int]:
    """How often the leader has written, by verb and resource; renewals of its Lease aside."""
    pod = await leader(world)
    async with world.model.http.get(f"http://{pod['status']['podIP']}:8081/metrics") as response:
        families = list(text_string_to_metric_families(await response.text()))
    counted: dict[str, int] = defaultdict(int)
    for family in families:
        for sample in family.samples:
            if sample.name == "agentsession_kube_requests_total" and sample.labels["verb"] in WRITES:
                counted[f"{sample.labels['verb']} {sample.labels['resource']}"] += int(sample.value)
    counted.pop("merge_patch leases", None)
    return counted


class Runners:
    """Which runner pods each session of a namespace had: all, and those that were ever granted it."""

    def __init__(self) -> None:
        self.made: dict[str, set[str]] = defaultdict(set)
        self.granted: dict[str, set[str]] = defaultdict(set)

    async def watch(self, api: ApiClient, namespace: str) -> None:
        """See every pod from now on, for ever."""
        selector = f"{RUNNER_LABEL}=true"
        version = (await api.list(PODS, namespace=namespace, label_selector=selector)).resource_version
        while True:
            stream = api.watch(PODS, namespace=namespace, label_selector=selector, resource_version=version, seconds=60)
            async for event in stream:
                if event is not None:
                    version = event["object"]["metadata"]["resourceVersion"]
                if event is not None and event["type"] != "BOOKMARK":
                    self._see(event["object"])

    def _see(self, pod: KubeObject) -> None:
        owner = controller_of(pod)
        name = owner["name"] if owner is not None else ""
        self.made[name].add(pod["metadata"]["uid"])
        if GRANT_ANNOTATION in pod["metadata"].get("annotations", {}):
            self.granted[name].add(pod["metadata"]["uid"])


@asynccontextmanager
async def runners_of(world: World, namespace: str) -> AsyncIterator[Runners]:
    """Watch a namespace's runners while the block runs."""
    seen = Runners()
    task = asyncio.create_task(seen.watch(world.api, namespace))
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
