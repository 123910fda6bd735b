"""What a decision is made from: caches, listeners and meters; nothing is fetched but the text behind promptFrom."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentsession.api.base import to_json
from agentsession.api.session import AgentSession, AgentSessionStatus, Meter, Usage
from agentsession.keys.keyring import Keyring
from agentsession.keys.seals import Seals
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import Resource
from agentsession.resources.names import GRANT_ANNOTATION, TENANT_LABEL, runner_pod_name
from agentsession.resources.network import network_policy
from agentsession.resources.surroundings import Surroundings
from agentsession.runners.client import RunnerClient, RunnerError, Target
from agentsession.runners.listeners import Listeners
from agentsession.runners.podview import Views
from agentsession.runners.tickets import Tickets
from agentsession.sessions.holdup import ABSENT, Claim
from agentsession.sessions.observe import MAX_PROMPT, Observer
from agentsession.sessions.observed import Observed
from agentsession.sessions.slots import Slot
from agentsession.sessions.turns import continued_uuid
from agentsession.sessions.usage import totals
from agentsession.usage.meters import Meters
from agentsession_runner.protocol import State

from .build import INSTALL, NOW, UID, grant, known, runner, said, session, tenant

pytestmark = pytest.mark.unit

KEYRING = Keyring.generate(datetime.now(UTC))
SURROUNDINGS = Surroundings(egress_ip="10.96.0.9", canary_ip="10.96.0.8", api_server="10.96.0.1:443")
POD = runner_pod_name("s", UID)


class Api(ApiClient):
    """ConfigMaps alone; counts how often they are read."""

    def __init__(self) -> None:
        self.maps: dict[Key, dict[str, str]] = {}
        self.reads = 0

    async def get(self, resource: Resource, key: Key) -> KubeObject:
        assert resource.plural == "configmaps"
        self.reads += 1
        if key not in self.maps:
            raise NotFoundError(404, "NotFound", "no")
        return {"data": self.maps[key]}


class Silent(RunnerClient):
    """A runner that never answers."""

    def __init__(self) -> None:
        pass

    async def state(self, target: Target, after: int) -> State:
        raise RunnerError(f"{target.ip} says nothing after {after}")


class Scene:
    """An observer and what it sees."""

    def __init__(self) -> None:
        self.api, self.caches, self.starting = Api(), Caches(), set[Slot]()
        self.listeners = Listeners(Silent(), lambda _: None)
        self.version = 0
        self.meters = meters = Meters.__new__(Meters)  # it has pulled nothing
        meters._sessions, meters._alive, meters._final = {}, None, set()
        meters._asked, meters._knew, meters._strangers = None, None, False
        views = Views(Seals(KEYRING.jwks))
        self.observer = Observer(
            self.api,
            self.caches,
            self.listeners,
            meters,
            INSTALL,
            SURROUNDINGS,
            views,
            self.starting,
            set(),
            Tickets(self.caches, 1),
        )
        self.put(self.caches.namespaces, {"metadata": {"name": "n", "uid": "n-1"}})
        self.put(self.caches.policies, network_policy("n", INSTALL))
        self.put(self.caches.tenants, {**to_json(tenant()), "kind": "AgentTenant"})

    def put(self, store: Any, body: Any) -> None:
        """Let a watch tell of it."""
        self.version += 1
        store.observe("ADDED", {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}})

    def put_pod(self, *, started: datetime = NOW, **metadata: Any) -> None:
        """A runner pod of the session."""
        own = {"name": POD, "namespace": "n", "uid": "p-1", "labels": {TENANT_LABEL: "default"}, **metadata}
        self.put(
            self.caches.pods,
            {"metadata": own, "status": {"phase": "Running", "podIP": "10.0.0.9", "startTime": started.isoformat()}},
        )

    async def look(self, who: AgentSession | None = None) -> Observed:
        """The snapshot of a session."""
        who = who or session()
        return await self.observer.observe({**to_json(who), "metadata": to_json(who.metadata)}, who)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_all_is_there(scene: Scene) -> None:
    seen = await scene.look()
    assert seen.tenant is not None
    assert seen.tenant.metadata.uid == "t-1"
    assert seen.namespace_ready
    assert (seen.prompt, seen.prompt_problem) == ("hello", None)
    assert (seen.pod, seen.runner, seen.usage) == (None, None, [])
    assert seen.free_slots == 10
    assert scene.api.reads == 0


@pytest.mark.parametrize(
    ("status", "offered"),
    [
        ({}, True),
        ({"startType": "Warm", "podName": "p-a"}, True),
        ({"startType": "Cold", "podName": POD}, False),
        ({"startType": "Warm", "podName": "p-a", "turns": [to_json(known())]}, False),
    ],
    ids=["new", "its warm runner died", "it started cold", "it was asked"],
)
async def test_what_a_pool_has_is_for_who_begins(scene: Scene, status: dict[str, Any], *, offered: bool) -> None:
    pool = {"template": {"agent": {"model": "m"}}}
    scene.put(scene.caches.pools, {"metadata": {"name": "p", "namespace": "n", "uid": "pool-1"}, "spec": pool})
    who = session(poolRef={"name": "p"}, status=AgentSessionStatus.model_validate(status))
    seen = await scene.look(who)
    assert (seen.offer is not None) == offered
    assert seen.claimed_before == (status.get("startType") == "Warm")


async def test_a_tenant_of_another_version_is_as_if_absent(scene: Scene) -> None:
    body = to_json(tenant())
    scene.put(scene.caches.tenants, {**body, "spec": {**body["spec"], "budget": {}}})
    assert (await scene.look()).tenant is None


@pytest.mark.parametrize("change", ["no policy", "another policy", "no namespace", "namespace is going"])
async def test_a_namespace_is_not_ready(scene: Scene, change: str) -> None:
    match change:
        case "no policy":
            scene.caches.policies.replace([], "99")
        case "another policy":
            loose = network_policy("n", INSTALL)
            scene.put(scene.caches.policies, {**loose, "spec": {"podSelector": {}}})
        case "no namespace":
            scene.caches.namespaces.replace([], "99")
        case "namespace is going":
            metadata = {"name": "n", "uid": "n-1", "deletionTimestamp": "2026-01-01T00:00:00Z"}
            scene.put(scene.caches.namespaces, {"metadata": metadata})
    assert not (await scene.look()).namespace_ready


@pytest.mark.parametrize(
    ("claim", "seen"),
    [
        (None, Claim("agentsession-default", ABSENT)),
        ({"spec": {}}, Claim("agentsession-default", "Pending")),
        (
            {"spec": {"storageClassName": "fast"}, "status": {"phase": "Bound"}},
            Claim("agentsession-default", "Bound", "fast"),
        ),
    ],
)
async def test_the_tenants_claim(scene: Scene, claim: dict[str, Any] | None, seen: Claim) -> None:
    assert (await scene.look()).claim is None
    scene.put(scene.caches.tenants, {**to_json(tenant(workspace={"size": "1Gi"})), "kind": "AgentTenant"})
    if claim is not None:
        scene.put(scene.caches.claims, {"metadata": {"name": seen.name, "namespace": "n", "uid": "c-1"}, **claim})
    assert (await scene.look()).claim == seen


class TestPrompt:
    """promptFrom."""

    spec: dict[str, Any] = {"prompt": None, "promptFrom": {"configMapKeyRef": {"name": "prompts", "key": "a"}}}

    async def test_it_is_read(self, scene: Scene) -> None:
        scene.api.maps["n", "prompts"] = {"a": "text"}
        assert (await scene.look(session(**self.spec))).prompt == "text"

    @pytest.mark.parametrize(
        ("maps", "parts"),
        [
            ({}, ["there is no ConfigMap prompts", "create it"]),
            ({("n", "prompts"): {"b": "text"}}, ["no text under the key a", "add it"]),
            ({("n", "prompts"): {"a": ""}}, ["no text under the key a"]),
            ({("n", "prompts"): {"a": "x" * (MAX_PROMPT + 1)}}, [f"{MAX_PROMPT} are the most"]),
        ],
    )
    async def test_it_is_not_to_be_had(self, scene: Scene, maps: Any, parts: list[str]) -> None:
        scene.api.maps = maps
        seen = await scene.look(session(**self.spec))
        assert seen.prompt is None
        assert seen.prompt_problem is not None
        assert seen.prompt_problem.startswith("spec.promptFrom.configMapKeyRef: ")
        assert all(part in seen.prompt_problem for part in parts)

    async def test_it_is_not_read_when_the_turn_has_ended(self, scene: Scene) -> None:
        done = AgentSessionStatus(turns=[known(state="Completed")])
        assert (await scene.look(session(done, **self.spec))).prompt is None
        assert scene.api.reads == 0

    @pytest.mark.parametrize("state", ["Interrupted", "Running"])
    async def test_it_is_not_read_when_the_turn_is_gone_on_with(self, scene: Scene, state: str) -> None:
        turn = known(state=state).model_copy(update={"uuid": continued_uuid(known().uuid)})
        assert (await scene.look(session(AgentSessionStatus(turns=[turn]), **self.spec))).prompt is None
        assert scene.api.reads == 0

    async def test_it_is_not_read_when_the_runner_has_it(self, scene: Scene) -> None:
        scene.put_pod()
        target = Target("p-1", "10.0.0.9", UID)
        scene.listeners.hear(("n", "s"), target, runner("Ready", said(phase="Running")))
        status = AgentSessionStatus(turns=[known()])
        seen = await scene.look(session(status, **self.spec))
        assert seen.runner is not None
        assert scene.api.reads == 0
        await scene.listeners.close()


class TestSettled:
    """Nothing is doubted of what was complete."""

    @pytest.fixture(autouse=True)
    def no_process_is_as_old(self, scene: Scene) -> None:
        """This operator has just begun, and so have the egress processes."""
        meters = scene.observer._meters
        meters._alive, meters._heard, meters._gone = frozenset({"new"}), {}, {}
        meters._asked = meters._knew = NOW + timedelta(seconds=2)
        meters._started = {"new": NOW + timedelta(seconds=1)}

    async def test_a_process_that_is_gone_took_nothing_along(self, scene: Scene) -> None:
        served_by = [Meter(incarnation="open"), Meter(incarnation="settled", settled=True), Meter(incarnation="new")]
        before = AgentSessionStatus(usage=Usage(meters=served_by))
        assert (await scene.look(session(before))).lost_meters == {"open"}

    @pytest.mark.parametrize(("counted", "lost"), [(None, {"unseen"}), (0, {"unseen"}), (1, set())])
    async def test_only_what_status_does_not_tell_of_is_doubted(
        self, scene: Scene, counted: int | None, lost: set[str]
    ) -> None:
        """counted: milliseconds from the turn's end to when usage was heard, if at all."""
        ended = [known(state="Completed").model_copy(update={"finished": NOW})]
        until = NOW + timedelta(milliseconds=counted) if counted is not None else None
        seen = await scene.look(session(AgentSessionStatus(turns=ended, usage=Usage(until=until))))
        assert seen.lost_meters == lost
        assert seen.usage_until == NOW + timedelta(seconds=2)

    async def test_a_pools_runner_may_have_asked_the_model_before_status_tells_of_its_turn(self, scene: Scene) -> None:
        scene.put_pod(annotations={GRANT_ANNOTATION: grant("p-1").model_copy(update={"claimed": NOW}).sign(KEYRING)})
        assert (await scene.look()).lost_meters == {"unseen"}
        scene.meters._started = {"new": NOW - timedelta(seconds=1)}
        assert (await scene.look()).lost_meters == frozenset()


class TestPod:
    """The session's pod."""

    @staticmethod
    def granted(pod_uid: str = "p-1", keyring: Keyring = KEYRING) -> dict[str, str]:
        return {GRANT_ANNOTATION: grant(pod_uid).sign(keyring)}

    async def test_it_has_the_operators_grant(self, scene: Scene) -> None:
        scene.put_pod(annotations=self.granted())
        seen = await scene.look()
        assert seen.pod is not None
        assert seen.pod.grant is not None
        assert seen.pod.grant.session_uid == UID
        assert seen.free_slots == 0

    @pytest.mark.parametrize("forged", ["none", "copied", "another's key", "not a token"])
    async def test_what_is_no_grant_for_it_is_none(self, scene: Scene, forged: str) -> None:
        annotations: dict[str, dict[str, str]] = {
            "none": {},
            "copied": self.granted("p-2"),
            "another's key": self.granted(keyring=Keyring.generate(NOW)),
            "not a token": {GRANT_ANNOTATION: "yes"},
        }
        scene.put_pod(annotations=annotations[forged])
        seen = await scene.look()
        assert seen.pod is not None
        assert seen.pod.grant is None

    async def test_pods_of_other_sessions_hold_slots(self, scene: Scene) -> None:
        scene.put_pod(name="another", uid="p-2")
        scene.starting.add(Slot(("n", "default"), "a-third", ("n", "a-third-pod")))
        assert (await scene.look()).free_slots == 8


async def test_a_process_whose_meter_is_final_is_missed_by_nobody(scene: Scene) -> None:
    """After a rollout its process is gone, but what it served was told to the end; also to a leader of before."""
    scene.meters._alive, scene.meters._heard, scene.meters._gone = frozenset(), {}, {}
    meters = [Meter(incarnation="e-1", requests=1, final=True), Meter(incarnation="e-2", requests=1)]
    seen = await scene.look(session(status=AgentSessionStatus(usage=totals(meters))))
    assert seen.lost_meters == {"e-2"}
