"""A control plane of this folder's own: the policies hold in a whole cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.errors import ForbiddenError, InvalidError
from agentsession.kube.resource import AGENTSESSIONS
from devcluster.controlplane import ControlPlane
from tests.sessions.inprocess import SECONDS

from .cluster import GUARDED, OPEN, Callers, Guarded, calling, prepare
from .objects import agent_session


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The chart's rights and policies, in force."""
    with ControlPlane(tmp_path_factory.mktemp("admission") / "plane") as plane:
        made = prepare(plane.kubeconfig)
        asyncio.run(_in_force(made))
        yield made


async def _in_force(guarded: Guarded) -> None:
    """Rights are aggregated after a moment, and policies take a second. That of sessions is applied last."""
    async with calling(guarded) as callers, asyncio.timeout(SECONDS):
        for namespace, awaited in ((OPEN, None), (GUARDED, InvalidError)):
            editor = await callers.user(namespace)
            while await _outcome(editor, namespace) != awaited:
                await asyncio.sleep(0.1)


async def _outcome(editor: ApiClient, namespace: str) -> type[Exception] | None:
    try:
        await editor.create(AGENTSESSIONS, agent_session(namespace, runtime={"image": "strange:1"}))
    except (ForbiddenError, InvalidError) as error:
        return type(error)
    return None


@pytest.fixture
async def callers(guarded: Guarded) -> AsyncIterator[Callers]:
    """Who may call."""
    async with calling(guarded) as made:
        yield made
