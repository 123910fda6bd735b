"""Carries out what was decided. Each action can be repeated: the next decision sees what came of it."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.keys.grant import Grant
from agentsession.keys.keyring import Keyring
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import AlreadyExistsError, ConflictError, InvalidError, NotFoundError, UnknownOutcomeError
from agentsession.kube.objects import Key, KubeObject, uid_of
from agentsession.kube.resource import AGENTSESSIONS, PODS
from agentsession.resources.claim import claim_patch
from agentsession.resources.names import GRANT_ANNOTATION, runner_pod_name
from agentsession.resources.pod import session_pod
from agentsession.resources.release import release_patch
from agentsession.resources.surroundings import Surroundings
from agentsession.resources.tenancy import runner_uid
from agentsession.runners.client import RunnerClient, RunnerError, RunnerRefusedError, Target, must_be_bound
from agentsession.runners.deletion import delete_pod
from agentsession.runners.listeners import Listeners
from agentsession_runner.protocol import PromptRequest, State

from .observed import Observed
from .plan import Action, Bind, Claim, CreateRunner, DeleteRunner, DeleteSession, Drain, Listen, Prompt
from .slots import Slot


class Actor:
    """Writes to the API server and calls runners."""

    def __init__(
        self,
        api: ApiClient,
        caches: Caches,
        listeners: Listeners,
        runners: RunnerClient,
        install: Installation,
        surroundings: Surroundings,
        keyring: Callable[[], Keyring],
        epoch: int,
        starting: set[Slot],
        claimed: set[str],
        taken: Callable[[KubeObject], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._caches = caches
        self._listeners = listeners
        self._runners = runners
        self._install = install
        self._surroundings = surroundings
        self._keyring = keyring
        self._epoch = epoch
        self._starting = starting
        self._claimed = claimed
        self._taken = taken
        self._now = now

    @contextmanager
    def reserving(self, session: AgentSession, actions: Iterable[Action]) -> Iterator[None]:
        """Hold the slot of a runner that is to be created, from the decision on: enter it before anything is awaited,
        or the next session is given the same slot while the status is being written."""
        namespace, name = session.key
        uid, tenant = session.metadata.uid, (namespace, session.spec.tenant_ref.name)
        slots = set()
        for action in actions:
            match action:
                case CreateRunner():
                    slots.add(Slot(tenant, uid, (namespace, runner_pod_name(name, uid))))
                case Claim(pod=pod):
                    slots.add(Slot(tenant, uid, pod))
        self._starting |= slots
        try:
            yield
        finally:
            self._starting -= slots

    def claim_told(self, session_uid: str) -> None:
        """Its status says now that it was given a warm runner."""
        self._claimed.discard(session_uid)

    async def act(self, session: AgentSession, seen: Observed, action: Action) -> None:
        """Raises kube.errors.ApiError or runners.client.RunnerError; then nothing after it is done either."""
        match action:
            case CreateRunner():
                await self._create(session, seen)
            case Claim():
                await self._claim(session, seen, action)
            case DeleteRunner(pod, pod_uid, grace_seconds):
                await self._delete(pod, pod_uid, grace_seconds)
            case Listen(pod_uid, ip):
                self._listeners.listen(session.key, Target(pod_uid, ip, session.metadata.uid))
            case Bind(pod_uid, ip, prompt):
                target = Target(pod_uid, ip, session.metadata.uid)
                asked = PromptRequest(uuid=prompt.uuid, text=prompt.text) if prompt is not None else None
                await self._call(session.key, target, self._bind(session.key, target, asked))
            case Prompt(pod_uid, ip, uuid, text):
                target = Target(pod_uid, ip, session.metadata.uid)
                answer = self._runners.prompt(target, uuid, text)
                self._listeners.heard(session.key, target, await self._call(session.key, target, answer))
            case Drain(pod_uid, ip):
                target = Target(pod_uid, ip, session.metadata.uid)
                with suppress(RunnerError):  # its time is bounded, and it is asked again until then
                    self._listeners.heard(session.key, target, await self._runners.drain(target))
            case DeleteSession():
                with suppress(NotFoundError):
                    await self._api.delete(AGENTSESSIONS, session.key, uid=session.metadata.uid)

    async def _bind(self, key: Key, target: Target, prompt: PromptRequest | None) -> State:
        """Its answer must not contradict what else the runner says, or the next decision would be the same again."""
        answer = await self._runners.bind(target, prompt)
        last = self._listeners.hear(key, target, answer)
        must_be_bound(last, target, prompt)
        return last

    async def _call(self, key: Key, target: Target, answer: Awaitable[State]) -> State:
        try:
            state = await answer
        except RunnerRefusedError:
            self._listeners.refused(key, target)
            raise
        except RunnerError:
            self._listeners.listen(key, target)  # what it says when it can be reached again is the end of waiting
            raise
        self._listeners.accepted(key, target)
        return state

    async def _delete(self, key: Key, uid: str, grace_seconds: int | None) -> None:
        try:
            await delete_pod(self._api, self._caches.pods, key, uid, grace_seconds=grace_seconds)
        except NotFoundError:  # and if it lost its label, no watch has told so
            self._forget(uid)
        except ConflictError:  # another pod has its name, or the server was asked at a bad moment
            found = await self._read(key)
            if found is not None and uid_of(found) == uid:
                raise
            self._forget(uid)

    async def _read(self, key: Key) -> KubeObject | None:
        try:
            return await self._api.get(PODS, key)
        except NotFoundError:
            return None

    def _forget(self, uid: str) -> None:
        if (known := self._caches.pods.by_uid(uid)) is not None:
            self._caches.pods.observe("DELETED", known)

    async def _claim(self, session: AgentSession, seen: Observed, claim: Claim) -> None:
        """Take a warm pod by one guarded write. Whatever comes of it, the cache then has the pod as it is."""
        if seen.tenant is None:
            return
        key, uid = claim.pod, claim.pod_uid
        self._claimed.add(session.metadata.uid)
        grant = self._grant(session, seen.tenant, uid, key[0], claimed=self._now())
        patch = claim_patch(key[0], claim.pool_uid, uid, session, grant, claim.deadline)
        try:
            taken = await self._api.json_patch(PODS, key, patch)
        except (InvalidError, NotFoundError, ConflictError, UnknownOutcomeError) as error:
            found = await self._read(key)
            if found is None or uid_of(found) != uid:
                self._forget(uid)
            else:
                self._caches.pods.observe("MODIFIED", found)
                self._taken(found)
            if isinstance(error, UnknownOutcomeError):
                raise
            return
        self._caches.pods.observe("MODIFIED", taken)
        self._taken(taken)  # the watch brings nothing that is new to the cache

    async def _create(self, session: AgentSession, seen: Observed) -> None:
        """Create and grant in one go: a pod without a grant was not made here, and is never given one later."""
        namespace, uid = session.metadata.namespace, session.metadata.uid
        known = self._caches.namespaces.get(("", namespace))
        if seen.tenant is None or seen.template is None or known is None:
            return
        user = runner_uid(known["metadata"]["uid"])
        body = session_pod(session, seen.template, seen.tenant, self._install, self._surroundings, user)
        key = (namespace, runner_pod_name(session.metadata.name, uid))
        pod = await self._created(body, key)
        grant = self._grant(session, seen.tenant, uid_of(pod), namespace)
        patch = release_patch(uid_of(pod), GRANT_ANNOTATION, grant)
        self._caches.pods.observe("ADDED", await self._api.merge_patch(PODS, key, patch))

    async def _created(self, body: KubeObject, key: Key) -> KubeObject:
        """Create the pod. Whatever comes of it, the cache then has it if it is there: it holds a slot."""
        try:
            pod = await self._api.create(PODS, body)
        except (AlreadyExistsError, UnknownOutcomeError):
            self._caches.pods.observe("ADDED", await self._api.get(PODS, key))  # decided anew with what is there
            raise
        self._caches.pods.observe("ADDED", pod)
        return pod

    def _grant(
        self, session: AgentSession, tenant: AgentTenant, pod_uid: str, place: str, claimed: datetime | None = None
    ) -> str:
        """place: the pod's namespace."""
        grant = Grant(
            pod_uid=pod_uid,
            session_uid=session.metadata.uid,
            session_name=session.metadata.name,
            namespace=session.metadata.namespace,
            pod_namespace=place if place != session.metadata.namespace else None,
            tenant=tenant.metadata.name,
            tenant_uid=tenant.metadata.uid,
            epoch=self._epoch,
            claimed=claimed,
        )
        return grant.sign(self._keyring())
