"""What really happened: every change of sessions, pods and tenants, by a watch that nothing disturbs; what it broke.

Each event is judged when it comes, against all that came before, so nothing that lasted only for a moment is missed.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp

from agentsession.api.base import is_true
from agentsession.api.conditions import FINISHED
from agentsession.api.session import AgentSession, AgentSessionStatus
from agentsession.kube.cache import Store
from agentsession.kube.connection import Connection
from agentsession.kube.objects import KubeObject, key_of, labels_of, owner_uid, uid_of
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, PODS, Resource
from agentsession.resources.names import GRANT_ANNOTATION, TENANT_LABEL

from .plane import Plane


class History:
    """Fills the egress plane's directory; `violations` is what must never be."""

    def __init__(self, plane: Plane, namespace: str, say: Callable[[str], None]) -> None:
        self.violations: list[str] = []
        self.events = 0
        self.tenant_limits: dict[str, int] = defaultdict(int)
        """By tenant: the most runners at once that it was ever allowed."""
        self._plane = plane
        self._namespace = namespace
        self._say = say
        self._statuses: dict[str, AgentSessionStatus] = {}
        self._grants: dict[str, str] = {}

    @property
    def sessions(self) -> list[AgentSession]:
        """Those that exist, by name."""
        return sorted(self._plane.directory.sessions.all(), key=lambda session: session.metadata.name)

    @property
    def pods(self) -> list[KubeObject]:
        """Those that exist, by name."""
        return sorted(self._plane.directory.pods.store, key=key_of)

    @property
    def tenants(self) -> set[str]:
        """The names of those that exist."""
        return {tenant.metadata.name for tenant in self._plane.directory.tenants.all()}

    async def watch(self, connection: Connection, resource: Resource, store: Store) -> None:
        """Follow one kind from its beginning, for ever."""
        url = f"{connection.server}{resource.collection(self._namespace)}?watch=true&timeoutSeconds=7200"
        forever = aiohttp.ClientTimeout(total=None, sock_read=None)
        try:
            async with connection.open() as session, session.get(url, timeout=forever) as response:
                async for event in _events(response.content):
                    self.events += 1
                    store.observe(event["type"], event["object"])
                    self._judge(resource, event["type"], event["object"])
        except Exception as error:
            self.broken(f"the test's own watch of {resource.plural} failed: {error!r}")
            raise
        self.broken(f"the test's own watch of {resource.plural} ended")

    def broken(self, what: str) -> None:
        """Note what must never be."""
        self.violations.append(what)
        self._say(f"VIOLATION: {what}")

    def _judge(self, resource: Resource, kind: str, obj: KubeObject) -> None:
        if resource == AGENTSESSIONS and kind != "DELETED":
            self._judge_session(obj)
        elif resource == PODS and kind != "DELETED":
            self._judge_pod(kind, obj)
        elif resource == AGENTTENANTS and kind != "DELETED":
            metadata = obj["metadata"]
            self.tenant_limits[metadata["name"]] = max(
                self.tenant_limits[metadata["name"]], obj["spec"]["sessions"]["maxConcurrent"]
            )
            self._plane.tenant_seen(metadata["namespace"], metadata["name"], metadata["generation"])
        for uid in {uid_of(obj)} if resource == AGENTSESSIONS else {owner_uid(obj)} if resource == PODS else ():
            if len(serving := self._plane.serves(uid)) > 1:
                self.broken(f"session {uid} has {len(serving)} runners that would be served: {serving}")

    def _judge_pod(self, kind: str, pod: KubeObject) -> None:
        name, uid, tenant = pod["metadata"]["name"], uid_of(pod), labels_of(pod).get(TENANT_LABEL, "")
        grant = pod["metadata"].get("annotations", {}).get(GRANT_ANNOTATION)
        if self._grants.setdefault(uid, grant or "") not in ("", grant):
            self.broken(f"the grant of pod {name} was changed")
        self._grants[uid] = grant or ""
        if kind == "ADDED":
            self._say(f"    pod {name} appears")
            running = sum(labels_of(other).get(TENANT_LABEL) == tenant for other in self._plane.directory.pods.store)
            if running > self.tenant_limits[tenant]:
                self.broken(f"tenant {tenant} has {running} runners, {self.tenant_limits[tenant]} are the most")

    def _judge_session(self, obj: KubeObject) -> None:
        now, name = AgentSession.model_validate(obj), obj["metadata"]["name"]
        before, after = self._statuses.get(now.metadata.uid, AgentSessionStatus()), now.status
        self._statuses[now.metadata.uid] = after
        for what in _backwards(before, after):
            self.broken(f"session {name}: {what}")
        if after.observed_generation > now.metadata.generation:
            self.broken(f"session {name}: observedGeneration {after.observed_generation} is of the future")
        if (before.phase, reason(before)) != (after.phase, reason(after)):
            self._say(f"    session {name} is {after.phase}: {reason(after)}")


def reason(status: AgentSessionStatus) -> str:
    """The reason of its condition Ready."""
    return next((item.reason for item in status.conditions if item.type == "Ready"), "")


def _backwards(before: AgentSessionStatus, after: AgentSessionStatus) -> Iterator[str]:
    """What status takes back."""
    if after.observed_generation < before.observed_generation:
        yield f"observedGeneration went from {before.observed_generation} to {after.observed_generation}"
    if is_true(before.conditions, FINISHED):
        for field in ("phase", "turns", "result", "timings", "session_id"):
            if getattr(before, field) != getattr(after, field):
                yield f"it was finished, and {field} changed from {getattr(before, field)} to {getattr(after, field)}"
        if reason(before) != reason(after):
            yield f"it was finished with {reason(before)}, and now is with {reason(after)}"
    turns = {turn.id: turn for turn in after.turns}
    for turn in before.turns:
        if turn.id not in turns:
            yield f"turn {turn.id} vanished"
        elif turn.state in ("Completed", "Failed") and turns[turn.id] != turn:
            yield f"turn {turn.id} had ended, and changed"
    if before.session_id not in (None, after.session_id):
        yield f"the conversation was {before.session_id}, and is {after.session_id}"
    meters = {meter.incarnation: meter for meter in after.usage.meters} if after.usage else {}
    for meter in before.usage.meters if before.usage else []:
        if meter.incarnation not in meters or meters[meter.incarnation].requests < meter.requests:
            yield f"usage at {meter.incarnation} went back"


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)
