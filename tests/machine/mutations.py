"""The product with one control taken out: what the machine must find. By name, how to break it."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from copy import copy
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import PODS, Resource
from agentsession.pools import act as pools_act
from agentsession.pools.claimed import ClaimedController
from agentsession.queues import Queues
from agentsession.resources.claim import Operation, claim_patch
from agentsession.runners import claimants
from agentsession.runners.client import RunnerClient
from agentsession.runners.deletion import delete_pod
from agentsession.runners.listeners import Listeners
from agentsession.runners.podview import PodView
from agentsession.runners.tickets import Tickets
from agentsession.sessions import acceptance, decide, ends
from agentsession.sessions import act as sessions_act
from agentsession.sessions import observe as sessions_observe
from agentsession.sessions.controller import SessionController
from agentsession.sessions.observe import Observer as SessionObserver
from agentsession.sessions.plan import Plan
from agentsession.usage.meters import Meters

Break = Callable[[pytest.MonkeyPatch], None]


def _ask_under_a_new_uuid(patch: pytest.MonkeyPatch) -> None:
    """Each delivery looks like a first one to the runner."""
    prompt = RunnerClient.prompt

    async def renamed(self: RunnerClient, target: Any, uuid: str, text: str) -> Any:
        return await prompt(self, target, str(uuid4()), text)

    patch.setattr(RunnerClient, "prompt", renamed)


def _write_over_what_has_changed(patch: pytest.MonkeyPatch) -> None:
    """A status without the resourceVersion that it was decided from."""
    write = ApiClient.apply_status

    async def careless(self: ApiClient, *which: Any, uid: str, resource_version: str = "") -> Any:
        return await write(self, *which, uid=uid)

    patch.setattr(ApiClient, "apply_status", careless)


def _do_not_settle_usage(patch: pytest.MonkeyPatch) -> None:
    """Finish without the egress plane's last word."""

    async def nothing(_: Meters) -> None:
        """What is known is taken for all."""

    patch.setattr(Meters, "settle", nothing)


def _keep_listeners(patch: pytest.MonkeyPatch) -> None:
    """Of sessions that have ended."""
    patch.setattr(Listeners, "forget", lambda *_: None)


def _keep_meters(patch: pytest.MonkeyPatch) -> None:
    """Of sessions that are gone."""
    patch.setattr(Meters, "forget", lambda *_: None)


def _ask_again_after_a_loss(patch: pytest.MonkeyPatch) -> None:
    """A session that loses its runner is started anew, whatever that runner was asked."""
    patch.setattr(decide, "_engaged", lambda *_: False)


def _always_write(patch: pytest.MonkeyPatch) -> None:
    """The status, changed or not."""

    async def publish(self: Any, raw: Any, session: Any, plan: Plan) -> timedelta | None:
        await self._write(raw, session.status, plan.status)
        return plan.requeue_after

    patch.setattr(SessionController, "_publish", publish)


def _claim_without_a_guard(patch: pytest.MonkeyPatch) -> None:
    """Whoever has the runner by then."""

    def unguarded(*what: Any) -> list[Operation]:
        return [step for step in claim_patch(*what) if step["op"] != "test"]

    patch.setattr(sessions_act, "claim_patch", unguarded)


def _offer_what_is_being_claimed(patch: pytest.MonkeyPatch) -> None:
    """Nobody holds the slot, nor the runner, that a session was just given."""
    patch.setattr(sessions_act.Actor, "reserving", lambda *_: nullcontext())


def _fill_a_pool_by_what_watches_tell(patch: pytest.MonkeyPatch) -> None:
    """And not by what was just made."""
    create = pools_act.Actor.create

    async def forgetful(self: pools_act.Actor, *what: Any) -> None:
        actor = copy(self)
        actor._caches = Caches()
        await create(actor, *what)

    patch.setattr(pools_act.Actor, "create", forgetful)


def _delete_whatever_the_runner_does_now(patch: pytest.MonkeyPatch) -> None:
    """A pool lets a runner go that was idle when that was decided."""

    async def careless(self: pools_act.Actor, namespace: str, pod: PodView) -> None:
        with suppress(NotFoundError):
            await delete_pod(self._api, self._caches.pods, (namespace, pod.name), pod.uid)

    patch.setattr(pools_act.Actor, "delete", careless)


def _make_runners_without_a_gate(patch: pytest.MonkeyPatch) -> None:
    """They get to a node as soon as they are there."""
    create = ApiClient.create

    async def open_(self: ApiClient, resource: Resource, body: KubeObject) -> KubeObject:
        if resource == PODS:
            body = {**body, "spec": {**body["spec"], "schedulingGates": []}}
        return await create(self, resource, body)

    patch.setattr(ApiClient, "create", open_)


def _know_no_runner_abroad(patch: pytest.MonkeyPatch) -> None:
    """A session sees what there is in its own namespace."""
    pods = SessionObserver._pods

    def at_home(self: SessionObserver, session: AgentSession) -> list[tuple[KubeObject, PodView]]:
        return [pod for pod in pods(self, session) if pod[1].namespace == session.metadata.namespace]

    patch.setattr(SessionObserver, "_pods", at_home)


def _leave_runners_abroad(patch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of their sessions."""

    async def nothing(*_: Any) -> None:
        """No owner takes them along."""

    patch.setattr(ClaimedController, "reconcile", nothing)


def _leave_claimed_runners_to_their_pool(patch: pytest.MonkeyPatch) -> None:
    """It takes them along when it goes."""

    def owned(*what: Any) -> list[Operation]:
        return [step for step in claim_patch(*what) if step["path"] != "/metadata/ownerReferences"]

    patch.setattr(sessions_act, "claim_patch", owned)


def _ask_no_tenant_for_consent(patch: pytest.MonkeyPatch) -> None:
    """Neither before a claim nor after it."""
    for module in (acceptance, ends):
        patch.setattr(module, "not_consented", lambda *_: None)


def _let_every_namespace_claim(patch: pytest.MonkeyPatch) -> None:
    """Also from a pool that does not admit it."""
    patch.setattr(sessions_observe, "admits", lambda *_: True)


def _count_tickets_anew(patch: pytest.MonkeyPatch) -> None:
    """Each leader from one on."""

    def give(self: Tickets, _: AgentPool) -> int:
        return len(self._given) + 1

    patch.setattr(Tickets, "_next", give)


def _give_another_ticket_each_time(patch: pytest.MonkeyPatch) -> None:
    """To who has one."""
    numbers = count(1)
    patch.setattr(SessionObserver, "_ticket", lambda *_: next(numbers))


def _serve_the_last_first(patch: pytest.MonkeyPatch) -> None:
    """The higher its ticket, the better."""
    patch.setattr(claimants, "_turn", lambda ticket, *age: (-(ticket or 0), *age))


def _tell_no_pool_who_waits(patch: pytest.MonkeyPatch) -> None:
    """It finds out when something becomes of its runners."""
    patch.setattr(Queues, "line_changed", lambda *_: None)


MUTATIONS: Mapping[str, Break] = {
    name.removeprefix("_").replace("_", " "): broken
    for name, broken in list(globals().items())
    if name.startswith("_") and not name.startswith("__")
}
