"""The product with one control taken out: what the machine must find. By name, how to break it."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from agentsession.kube.client import ApiClient
from agentsession.runners.client import RunnerClient
from agentsession.runners.listeners import Listeners
from agentsession.sessions import decide
from agentsession.sessions.controller import SessionController
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


MUTATIONS: Mapping[str, Break] = {
    name.removeprefix("_").replace("_", " "): broken
    for name, broken in list(globals().items())
    if name.startswith("_") and not name.startswith("__")
}
