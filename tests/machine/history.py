"""What really happened: every change of sessions, pods, pools and tenants, in the moment of it; what it broke.

Each event is judged when it comes, against all that came before, so nothing that lasted only for a moment is missed.
"""

from collections.abc import Callable, Iterator, Mapping

from agentsession.api.base import is_true
from agentsession.api.conditions import FINISHED
from agentsession.api.session import AgentSession, AgentSessionStatus
from agentsession.api.tenant import AgentTenant
from agentsession.keys.grant import claimed_session
from agentsession.kube.objects import KubeObject, annotations_of, key_of, labels_of, uid_of
from agentsession.resources.names import GRANT_ANNOTATION, MEMBERSHIP_ANNOTATION, POOL_LABEL
from agentsession.runners.claimants import POOL_EXHAUSTED

from .objects import Event
from .plane import Plane
from .pools import Pools
from .tenants import Tenants
from .tickets import Tickets


class History:
    """Fills the egress plane's directory; `violations` is what must never be."""

    def __init__(
        self,
        plane: Plane,
        asked: Mapping[tuple[str, str], int],
        by_leader: Callable[[], bool],
        calm: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self.violations: list[str] = []
        self.clock_stepped: Callable[[], bool] = lambda: False
        self.now: Callable[[], float] = lambda: 0.0
        self.harmed: set[str] = set()
        """The pods, by uid, to which something has happened that no operator did; and their owners."""
        self.dismissed: set[str] = set()
        """The sessions that people have deleted."""
        self._plane = plane
        self._asked = asked
        self._say = say
        self._statuses: dict[str, AgentSessionStatus] = {}
        self._grants: dict[str, str] = {}
        directory = plane.directory
        self.tenants = Tenants(directory.tenants.all, lambda: directory.pods.store, by_leader, self.broken)
        self.pools = Pools(lambda: directory.pods.store, by_leader, self.broken)
        self._tickets = Tickets(directory.sessions.all, calm, self.broken)

    @property
    def sessions(self) -> list[AgentSession]:
        """Those that exist, by name."""
        return sorted(self._plane.directory.sessions.all(), key=lambda session: session.metadata.name)

    @property
    def pods(self) -> list[KubeObject]:
        """Those that exist, by name."""
        return sorted(self._plane.directory.pods.store, key=key_of)

    def session_of(self, pod_uid: str) -> str:
        """The uid of the session that a pod was granted to; empty if it was to none."""
        return claimed_session(self._grants.get(pod_uid, ""))

    def committed(self, plural: str, event: Event) -> None:
        """Take in one change, in the moment of it."""
        directory = self._plane.directory
        stores = {
            "agentsessions": directory.sessions.store,
            "pods": directory.pods.store,
            "agenttenants": directory.tenants.store,
        }
        if (known := stores.get(plural)) is not None:
            known.observe(event.type, event.object)
            self._judge(plural, event.type, event.object, event.before)
        elif plural == "agentpools":
            self.pools.changed(event.type, event.object)

    def broken(self, what: str) -> None:
        """Note what must never be."""
        self.violations.append(what)
        self._say(f"VIOLATION: {what}")

    def _judge(self, plural: str, kind: str, obj: KubeObject, before: KubeObject | None) -> None:
        if plural == "agentsessions" and kind == "DELETED":
            self._judge_deletion(AgentSession.model_validate(obj))
        elif plural == "agentsessions":
            self._judge_session(obj)
        elif plural == "pods":
            if kind != "DELETED":
                self._judge_pod(kind, obj, before)
            self._tickets.runner_changed(kind, obj, self.session_of(uid_of(obj)), self.now())
        elif plural == "agenttenants" and kind != "DELETED":
            tenant = AgentTenant.model_validate(obj)
            self.tenants.changed(tenant)
            self._plane.tenant_seen(*tenant.key, tenant.metadata.generation)
        session = {"agentsessions": uid_of(obj), "pods": self.session_of(uid_of(obj))}.get(plural)
        if session and len(serving := self._plane.serves(session)) > 1:
            self.broken(f"session {session} has {len(serving)} runners that would be served: {serving}")

    def _judge_pod(self, kind: str, pod: KubeObject, before: KubeObject | None) -> None:
        name, uid = pod["metadata"]["name"], uid_of(pod)
        grant = annotations_of(pod).get(GRANT_ANNOTATION)
        if self._grants.setdefault(uid, grant or "") not in ("", grant):
            self.broken(f"the grant of pod {name} was changed")
        if grant and not self._grants[uid]:
            self._grants[uid] = grant
            session = self._plane.directory.sessions.by_uid(self.session_of(uid))
            self._say(f"    pod {name} is granted to session {session and session.metadata.name}")
            self._tickets.runner_changed(kind, pod, self.session_of(uid), self.now())
            if session is not None and POOL_LABEL in labels_of(pod):
                self._tickets.claimed(pod, session, self.now())
        if pod["spec"].get("nodeName") and not grant and MEMBERSHIP_ANNOTATION not in annotations_of(pod):
            self.broken(f"pod {name} is on a node, and nobody has signed it")
        if kind == "ADDED":
            self._say(f"    pod {name} appears")
            if POOL_LABEL in labels_of(pod):
                self.pools.runner_made(pod)
        if POOL_LABEL in labels_of(pod) and uid not in self.harmed:
            session = self._plane.directory.sessions.by_uid(self.session_of(uid))
            if session is not None and (
                session.metadata.uid in self.dismissed or not self.tenants.admits(session, key_of(pod)[0])
            ):
                session = None
            self.pools.runner_changed(pod, session, self.now())
        self.tenants.runner_changed(pod, before)

    def _judge_session(self, obj: KubeObject) -> None:
        now, name = AgentSession.model_validate(obj), obj["metadata"]["name"]
        before, after = self._statuses.get(now.metadata.uid, AgentSessionStatus()), now.status
        self._statuses[now.metadata.uid] = after
        gone = (turn for turn in before.turns if all(turn.id != other.id for other in after.turns))
        for turn in gone:  # what was about to be asked when a session was suspended is asked when it goes on
            if turn.state != "Running" or self._asked[now.metadata.uid, turn.uuid]:
                self.broken(f"session {name}: turn {turn.id} vanished")
        self._tickets.session_changed(now, before.ticket, self.now())
        for what in _backwards(before, after):
            self.broken(f"session {name}: {what}")
        if reason(after) == "RunnerLost" and not self._harmed(now.metadata.uid):
            self.broken(f"session {name} has lost its runner, to which nothing had happened")
        if is_true(after.conditions, FINISHED) and not is_true(before.conditions, FINISHED):
            self._judge_bill(name, after)
        if after.observed_generation > now.metadata.generation:
            self.broken(f"session {name}: observedGeneration {after.observed_generation} is of the future")
        if (before.phase, reason(before)) != (after.phase, reason(after)):
            ticket = f", ticket {after.ticket}" if reason(after) == POOL_EXHAUSTED else ""
            self._say(f"    session {name} is {after.phase}: {reason(after)}{ticket}")

    def _harmed(self, session: str) -> bool:
        return session in self.harmed or any(self.session_of(pod) == session for pod in self.harmed)

    def _judge_bill(self, name: str, status: AgentSessionStatus) -> None:
        """When a session finishes, every answer in its status has been paid for, or usage says that it may be more."""
        answered, usage = sum(turn.state == "Completed" for turn in status.turns), status.usage
        if not (usage and (usage.estimated or usage.requests >= answered)) and answered and not self.clock_stepped():
            self.broken(f"session {name} has {answered} answers and finishes with {usage}")

    def _judge_deletion(self, session: AgentSession) -> None:
        finished = is_true(session.status.conditions, FINISHED)
        over = finished and session.spec.ttl_seconds_after_finished is not None
        if session.metadata.uid not in self.dismissed and not over:
            self.broken(f"session {session.metadata.name} was deleted by an operator before its time")


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
        if turn.state in ("Completed", "Failed") and turns.get(turn.id, turn) != turn:
            yield f"turn {turn.id} had ended, and changed"
    if before.session_id not in (None, after.session_id):
        yield f"the conversation was {before.session_id}, and is {after.session_id}"
    meters = {meter.incarnation: meter for meter in after.usage.meters} if after.usage else {}
    for meter in before.usage.meters if before.usage else []:
        if meter.incarnation not in meters or meters[meter.incarnation].requests < meter.requests:
            yield f"usage at {meter.incarnation} went back"
