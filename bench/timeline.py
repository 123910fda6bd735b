"""When each session reached each step, by this machine's clock: as watches tell, and as its containers' logs say."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime

from agentsession.kube.objects import KubeObject, controller_of
from agentsession.kube.resource import AGENTSESSIONS, EVENTS, PODS, Resource
from agentsession.resources.names import CONTAIN_CONTAINER, RUNNER_CONTAINER

from .node import NAMESPACE, Node

STEPS = {
    "pod": "operator creates the pod",
    "scheduled": "scheduler",
    "checking": "kubelet: volumes, network, first container",
    "contained": "containment check, identity",
    "started": "kubelet: second container",
    "listening": "runner: Python, its port",
    "connected": "runner: SDK, agent connects",
    "ready": "operator: prompt delivered, status written",
}
"""The way from create to Ready: by step, what the time before it went to."""
STARTED = {
    f"spec.initContainers{{{CONTAIN_CONTAINER}}}": "checking",
    f"spec.containers{{{RUNNER_CONTAINER}}}": "started",
}
LOGGED = {"contained;": "contained", "listening on": "listening", '"connected"': "connected"}
WATCH_SECONDS = 3600


class SessionFailedError(Exception):
    """A session that should have had its answer failed."""


class Timeline:
    """Moments, in seconds since the epoch, by session and step: those of STEPS, `finished` and `gone` (its pod)."""

    def __init__(self, node: Node) -> None:
        self.moments: dict[str, dict[str, float]] = defaultdict(dict)
        self.sessions: dict[str, KubeObject] = {}
        self._node = node
        self._pods: dict[str, str] = {}
        self._news = asyncio.Event()

    async def follow(self, watching: Callable[[], None]) -> None:
        """Watch until cancelled; `watching` is called once when nothing can be missed any more."""
        streams = ((AGENTSESSIONS, self._session), (PODS, self._pod), (EVENTS, self._event))
        ready = asyncio.Barrier(len(streams) + 1)
        async with asyncio.TaskGroup() as group:
            for resource, take in streams:
                group.create_task(self._watch(resource, take, ready))
            await ready.wait()
            watching()

    async def reached(self, session: str, step: str) -> None:
        """Wait for a step. Raises SessionFailedError."""
        while step not in self.moments[session]:
            if "failed" in self.moments[session]:
                raise SessionFailedError(f"{session}: {self.sessions[session]['status']['conditions']}")
            await self._news.wait()

    def mark(self, session: str, step: str, at: float | None = None) -> None:
        """Note the first time that something happened: now, or `at`."""
        self.moments[session].setdefault(step, time.time() if at is None else at)
        self._news.set()
        self._news = asyncio.Event()

    async def read_logs(self, session: str) -> None:
        """Mark what the containers of the session's pod said, as long as the pod is there."""
        pod = next(name for name, owner in self._pods.items() if owner == session)
        logs = await asyncio.gather(*(self._node.log(pod, name) for name in (CONTAIN_CONTAINER, RUNNER_CONTAINER)))
        for line in [line for log in logs for line in log]:
            at, _, text = line.partition(" ")
            for said, step in LOGGED.items():
                if said in text:
                    self.mark(session, step, datetime.fromisoformat(at).timestamp())

    async def _watch(self, resource: Resource, take: Callable[[str, KubeObject], None], ready: asyncio.Barrier) -> None:
        listed = await self._node.api.list(resource, namespace=NAMESPACE)
        version = listed.resource_version
        stream = self._node.api.watch(resource, namespace=NAMESPACE, resource_version=version, seconds=WATCH_SECONDS)
        async with aclosing(stream):
            async for event in stream:
                if event is None:
                    await ready.wait()
                elif event["type"] != "BOOKMARK":
                    take(event["type"], event["object"])

    def _session(self, _: str, body: KubeObject) -> None:
        name = body["metadata"]["name"]
        self.sessions[name] = body
        status = body.get("status", {})
        if any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions", [])):
            self.mark(name, "ready")
        if status.get("phase") in ("Succeeded", "Failed"):
            self.mark(name, "finished" if status["phase"] == "Succeeded" else "failed")

    def _pod(self, type_: str, body: KubeObject) -> None:
        owner = controller_of(body)
        if owner is None:
            return
        name = owner["name"]
        self._pods[body["metadata"]["name"]] = name
        self.mark(name, "gone" if type_ == "DELETED" else "pod")
        if body["spec"].get("nodeName"):
            self.mark(name, "scheduled")

    def _event(self, _: str, body: KubeObject) -> None:
        step = STARTED.get(body["regarding"].get("fieldPath", ""))
        if body["reason"] == "Started" and step is not None and body["regarding"]["name"] in self._pods:
            self.mark(self._pods[body["regarding"]["name"]], step)
