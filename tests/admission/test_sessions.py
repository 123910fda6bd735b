"""Sessions are measured by the installer's lists when they are applied; and who may apply what."""

from typing import Any

import pytest

from agentsession.kube.errors import ForbiddenError, InvalidError
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS
from agentsession.sessions.acceptance import refusal
from tests.sessions.build import session

from .cluster import EDITOR, GUARDED, NAMESPACE_ADMIN, OPEN, VIEWER, Callers, installation
from .objects import agent_session, agent_tenant

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("runtime", [{"image": "strange:1"}, {"runtimeClassName": "weak"}], ids=["image", "class"])
async def test_what_the_installer_does_not_list_is_refused_in_the_words_of_the_condition(
    callers: Callers, runtime: dict[str, Any]
) -> None:
    why = refusal(session(runtime=runtime), installation())
    assert why is not None
    await (await callers.user(OPEN)).create(AGENTSESSIONS, agent_session(OPEN, runtime=runtime))
    with pytest.raises(InvalidError) as refused:
        await (await callers.user(GUARDED)).create(AGENTSESSIONS, agent_session(GUARDED, runtime=runtime))
    assert refused.value.message.endswith(f"denied request: {why.message}")


@pytest.mark.parametrize(
    "runtime", [{}, {"image": "runner:1"}, {"image": "runner:2"}, {"runtimeClassName": "gvisor"}], ids=str
)
async def test_what_is_listed_is_admitted(callers: Callers, runtime: dict[str, Any]) -> None:
    await (await callers.user(GUARDED)).create(AGENTSESSIONS, agent_session(GUARDED, runtime=runtime))


async def test_editors_run_sessions_and_admins_write_tenants_too(callers: Callers) -> None:
    editor, admin = await callers.user(GUARDED, EDITOR), await callers.user(GUARDED, NAMESPACE_ADMIN)
    for user in (editor, admin):
        made = await user.create(AGENTSESSIONS, agent_session(GUARDED))
        key = (GUARDED, made["metadata"]["name"])
        with pytest.raises(ForbiddenError, match="agentsessions/status"):
            await user.apply_status(AGENTSESSIONS, key, {"phase": "Succeeded"}, uid=made["metadata"]["uid"])
        await user.delete(AGENTSESSIONS, key)
    await editor.list(AGENTTENANTS, namespace=GUARDED)
    with pytest.raises(ForbiddenError, match="agenttenants"):
        await editor.create(AGENTTENANTS, agent_tenant(GUARDED))
    await admin.create(AGENTTENANTS, agent_tenant(GUARDED))


async def test_viewers_look(callers: Callers) -> None:
    viewer = await callers.user(GUARDED, VIEWER)
    await viewer.list(AGENTSESSIONS, namespace=GUARDED)
    await viewer.list(AGENTTENANTS, namespace=GUARDED)
    for kind, body in ((AGENTSESSIONS, agent_session(GUARDED)), (AGENTTENANTS, agent_tenant(GUARDED))):
        with pytest.raises(ForbiddenError):
            await viewer.create(kind, body)
