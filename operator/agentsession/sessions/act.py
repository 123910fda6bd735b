"""Carries out what was decided. Each action can be repeated: the next decision sees what came of it."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from agentsession.api.installation import Installation
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.keys.grant import Grant
from agentsession.keys.keyring import Keyring
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import AlreadyExistsError, ConflictError, NotFoundError, UnknownOutcomeError
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import AGENTSESSIONS, PODS
from agentsession.resources.names import GRANT_ANNOTATION, runner_pod_name
from agentsession.resources.pod import runner_pod
from agentsession.resources.surroundings import Surroundings
from agentsession.resources.tenancy import runner_uid
from agentsession.runners.client import RunnerClient, RunnerError, RunnerRefusedError, Target
from agentsession.runners.listeners import Listeners
from agentsession_runner.protocol import State

from .observed import Observed
from .plan import Action, Bind, CreateRunner, DeleteRunner, DeleteSession, Drain, Listen, Prompt
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

    @contextmanager
    def reserving(self, session: AgentSession, actions: Iterable[Action]) -> Iterator[None]:
        """Hold the slot of a runner that is to be created, from the decision on: enter it before anything is awaited,
        or the next session is given the same slot while the status is being written."""
        namespace, name = session.key
        slot = Slot(namespace, session.spec.tenant_ref.name, runner_pod_name(name, session.metadata.uid))
        if any(isinstance(action, CreateRunner) for action in actions):
            self._starting.add(slot)
        try:
            yield
        finally:
            self._starting.discard(slot)

    async def act(self, session: AgentSession, seen: Observed, action: Action) -> None:
        """Raises kube.errors.ApiError or runners.client.RunnerError; then nothing after it is done either."""
        match action:
            case CreateRunner():
                await self._create(session, seen)
            case DeleteRunner(pod_name, pod_uid, grace_seconds):
                await self._delete((session.metadata.namespace, pod_name), pod_uid, grace_seconds)
            case Listen(pod_uid, ip):
                self._listeners.listen(session.key, Target(pod_uid, ip, session.metadata.uid))
            case Bind(pod_uid, ip):
                target = Target(pod_uid, ip, session.metadata.uid)
                await self._call(session.key, target, self._runners.bind(target))
            case Prompt(pod_uid, ip, uuid, text):
                target = Target(pod_uid, ip, session.metadata.uid)
                await self._call(session.key, target, self._runners.prompt(target, uuid, text))
            case Drain(pod_uid, ip):
                with suppress(RunnerError):  # its time is bounded, and it is asked again until then
                    state = await self._runners.drain(Target(pod_uid, ip, session.metadata.uid))
                    self._listeners.accepted(session.key, pod_uid, state)
            case DeleteSession():
                with suppress(NotFoundError, ConflictError):
                    await self._api.delete(AGENTSESSIONS, session.key, uid=session.metadata.uid)

    async def _call(self, key: Key, target: Target, answer: Awaitable[State]) -> None:
        try:
            self._listeners.accepted(key, target.pod_uid, await answer)
        except RunnerRefusedError:
            self._listeners.refused(key, target.pod_uid)
            raise

    async def _delete(self, key: Key, uid: str, grace_seconds: int | None) -> None:
        try:
            await self._api.delete(PODS, key, uid=uid, grace_seconds=grace_seconds)
        except (NotFoundError, ConflictError):  # gone, and if it lost its label, no watch has told so
            known = self._caches.pods.by_uid(uid)
            if known is not None:
                self._caches.pods.observe("DELETED", known)

    async def _create(self, session: AgentSession, seen: Observed) -> None:
        """Create and grant in one go: a pod without a grant was not made here, and is never given one later."""
        namespace, uid = session.metadata.namespace, session.metadata.uid
        known = self._caches.namespaces.get(("", namespace))
        if seen.tenant is None or known is None:
            return
        user = runner_uid(known["metadata"]["uid"])
        body = runner_pod(session, seen.tenant, self._install, self._surroundings, user)
        key = (namespace, runner_pod_name(session.metadata.name, uid))
        pod = await self._created(body, key)
        annotations = {GRANT_ANNOTATION: self._grant(session, seen.tenant, pod["metadata"]["uid"])}
        patch = {"metadata": {"uid": pod["metadata"]["uid"], "annotations": annotations}}
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

    def _grant(self, session: AgentSession, tenant: AgentTenant, pod_uid: str) -> str:
        grant = Grant(
            pod_uid=pod_uid,
            session_uid=session.metadata.uid,
            session_name=session.metadata.name,
            namespace=session.metadata.namespace,
            tenant=tenant.metadata.name,
            tenant_uid=tenant.metadata.uid,
            epoch=self._epoch,
        )
        return grant.sign(self._keyring())
