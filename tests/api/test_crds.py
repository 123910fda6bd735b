"""The API server itself takes the generated CRDs and fills in the defaults. What it refuses: tests/input."""

from copy import deepcopy
from typing import Any

import pytest

from agentsession.api.session import AgentSession
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import InvalidError
from agentsession.kube.resource import AGENTSESSIONS, Resource
from tests.kstatus import kstatus
from tests.sessions.inprocess import serve_kinds

pytestmark = pytest.mark.apiserver

NAME = "x"


def session(**spec: Any) -> dict[str, Any]:
    whole = {"prompt": "hello", "agent": {"model": "m"}, **spec}
    return {
        "apiVersion": "agentsession.io/v1alpha1",
        "kind": "AgentSession",
        "metadata": {"name": NAME},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


@pytest.fixture
async def served(api: ApiClient, namespace: str) -> str:
    """A namespace on an API server that serves our kinds."""
    await serve_kinds(api)
    return namespace


async def create(api: ApiClient, resource: Resource, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    placed = deepcopy(body)
    placed["metadata"]["namespace"] = namespace
    return dict(await api.create(resource, placed))


async def test_the_smallest_session_is_a_prompt_and_a_model(api: ApiClient, served: str) -> None:
    made = AgentSession.model_validate(await create(api, AGENTSESSIONS, served, session()))
    assert made.spec.tenant_ref.name == "default"
    assert made.spec.lifecycle == "Ephemeral"
    assert made.spec.limits.turns == 200
    assert made.spec.agent is not None
    assert made.spec.agent.tools == ["Bash", "Edit", "Glob", "Grep", "Read", "Write"]


async def test_what_nobody_has_seen_is_in_progress(api: ApiClient, served: str) -> None:
    made = await create(api, AGENTSESSIONS, served, session())
    for raw in (made, await api.get(AGENTSESSIONS, (served, NAME))):
        assert raw["status"] == {"observedGeneration": -1}
        assert kstatus(raw) == "InProgress"


async def test_amounts_may_be_numbers(api: ApiClient, served: str) -> None:
    amounts = {"limits": {"cpu": 2, "memory": 3_000_000_000}}
    made = AgentSession.model_validate(
        await create(api, AGENTSESSIONS, served, session(runtime={"resources": amounts}))
    )
    assert made.spec.runtime.resources is not None
    assert made.spec.runtime.resources.limits is not None
    assert (made.spec.runtime.resources.limits.cpu, made.spec.runtime.resources.limits.memory) == ("2", "3000000000")


async def test_follow_ups_limits_and_ttl_can_change(api: ApiClient, served: str) -> None:
    await create(api, AGENTSESSIONS, served, session(lifecycle="LongRunning", followUps=[{"id": "a", "prompt": "b"}]))
    change = {
        "followUps": [{"id": "a", "prompt": "b"}, {"id": "c", "prompt": "d"}],
        "limits": {"turns": 500, "wallClock": "10m"},
        "ttlSecondsAfterFinished": 5,
    }
    changed = AgentSession.model_validate(await api.merge_patch(AGENTSESSIONS, (served, NAME), {"spec": change}))
    assert [item.id for item in changed.spec.follow_ups] == ["a", "c"]


async def test_a_finished_session_takes_no_more_follow_ups(api: ApiClient, served: str) -> None:
    made = await create(api, AGENTSESSIONS, served, session(lifecycle="LongRunning"))
    finished = {"type": "Finished", "status": "True", "reason": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"conditions": [finished]}
    await api.apply_status(AGENTSESSIONS, (served, NAME), status, uid=made["metadata"]["uid"])
    with pytest.raises(InvalidError, match="has finished and answers no more"):
        await api.merge_patch(AGENTSESSIONS, (served, NAME), {"spec": {"followUps": [{"id": "a", "prompt": "b"}]}})
    await api.merge_patch(AGENTSESSIONS, (served, NAME), {"spec": {"ttlSecondsAfterFinished": 5}})
