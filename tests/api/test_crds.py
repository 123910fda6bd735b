"""The API server itself takes the generated CRDs, fills in the defaults, and refuses what cannot work, by field."""

from copy import deepcopy
from typing import Any

import pytest

from agentsession.api.schema import crds
from agentsession.api.session import AgentSession
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import InvalidError, NotFoundError
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, Resource

pytestmark = pytest.mark.apiserver

CRDS = Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
NAME = "x"


def session(**spec: Any) -> dict[str, Any]:
    whole = {"prompt": "hello", "agent": {"model": "m"}, **spec}
    return {
        "apiVersion": "agentsession.io/v1alpha1",
        "kind": "AgentSession",
        "metadata": {"name": NAME},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


def tenant(**spec: Any) -> dict[str, Any]:
    whole = {"provider": {"credentialSecretRef": {"name": "key"}, "models": ["m"]}, **spec}
    return {
        "apiVersion": "agentsession.io/v1alpha1",
        "kind": "AgentTenant",
        "metadata": {"name": NAME},
        "spec": whole,
    }


@pytest.fixture
async def served(api: ApiClient, namespace: str) -> str:
    """A namespace on an API server that serves our kinds."""
    for crd in crds():
        await api.apply(CRDS, crd)
    for resource in (AGENTSESSIONS, AGENTTENANTS):
        await _until_served(api, resource)
    return namespace


async def _until_served(api: ApiClient, resource: Resource) -> None:
    while True:
        try:
            await api.list(resource)
        except NotFoundError:
            continue
        return


async def create(api: ApiClient, resource: Resource, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    placed = deepcopy(body)
    placed["metadata"]["namespace"] = namespace
    return dict(await api.create(resource, placed))


async def test_the_smallest_session_is_a_prompt_and_a_model(api: ApiClient, served: str) -> None:
    made = AgentSession.model_validate(await create(api, AGENTSESSIONS, served, session()))
    assert made.spec.tenant_ref.name == "default"
    assert made.spec.lifecycle == "Ephemeral"
    assert made.spec.limits.turns == 200
    assert made.spec.agent.tools == ["Bash", "Edit", "Glob", "Grep", "Read", "Write"]


WRONG_SESSIONS = {
    "no prompt": (session(prompt=None), "set exactly one of prompt and promptFrom"),
    "two prompts": (
        session(promptFrom={"configMapKeyRef": {"name": "a", "key": "b"}}),
        "set exactly one of prompt and promptFrom",
    ),
    "no model": (session(agent={}), "spec.agent.model"),
    "unknown field": (session(env=[{"name": "A"}]), 'unknown field "spec.env"'),
    "unknown tool": (session(agent={"model": "m", "tools": ["SendMessage"]}), "spec.agent.tools[0]"),
    "follow-ups of an ephemeral one": (session(followUps=[{"id": "a", "prompt": "b"}]), "need lifecycle LongRunning"),
    "reserved follow-up id": (
        session(lifecycle="LongRunning", followUps=[{"id": "prompt", "prompt": "b"}]),
        "names the session's first turn",
    ),
    "follow-up twice": (
        session(lifecycle="LongRunning", followUps=[{"id": "a", "prompt": "b"}, {"id": "a", "prompt": "c"}]),
        "Duplicate value",
    ),
    "follow-ups that leave no room for status": (
        session(lifecycle="LongRunning", followUps=[{"id": f"f{i}", "prompt": "x" * 16384} for i in range(9)]),
        "followUps are too long together: 131072 characters are the most",
    ),
    "no turns": (session(limits={"turns": 0}), "spec.limits.turns"),
    "too short": (session(limits={"wallClock": "5s"}), "10s is the least"),
    "too long": (session(limits={"wallClock": "721h"}), "720h (30 days) is the most"),
    "no duration": (session(limits={"wallClock": "soon"}), "spec.limits.wallClock"),
    "subagents without their tool": (
        session(agent={"model": "m", "subagents": [{"name": "a", "description": "b", "prompt": "c"}]}),
        "add Agent to agent.tools",
    ),
    "lifecycle": (session(lifecycle="Eternal"), 'supported values: "Ephemeral", "LongRunning"'),
    "an empty output schema": (
        session(agent={"model": "m", "outputFormat": {"jsonSchema": {}}}),
        "spec.agent.outputFormat.jsonSchema",
    ),
    "negative ttl": (session(ttlSecondsAfterFinished=-1), "spec.ttlSecondsAfterFinished"),
    "long name": ({**session(), "metadata": {"name": "x" * 64}}, "63 characters are the most"),
    "long prompt": (session(prompt="x" * 131073), "spec.prompt"),
    "permission mode": (session(agent={"model": "m", "permissionMode": "auto"}), "spec.agent.permissionMode"),
    "quantity": (
        session(runtime={"resources": {"limits": {"memory": "lots"}}}),
        "spec.runtime.resources.limits.memory",
    ),
}


@pytest.mark.parametrize("case", WRONG_SESSIONS)
async def test_a_wrong_session_is_refused_by_field(api: ApiClient, served: str, case: str) -> None:
    body, remedy = WRONG_SESSIONS[case]
    with pytest.raises(InvalidError) as refused:
        await create(api, AGENTSESSIONS, served, body)
    assert remedy in str(refused.value)


WRONG_TENANTS = {
    "no models": (tenant(provider={"credentialSecretRef": {"name": "k"}, "models": []}), "spec.provider.models"),
    "path in the URL": (
        tenant(provider={"credentialSecretRef": {"name": "k"}, "models": ["m"], "baseURL": "https://a/b"}),
        "spec.provider.baseURL",
    ),
    "a name with a dot": ({**tenant(), "metadata": {"name": "team.a"}}, "metadata.name has a dot"),
    "no secret": (tenant(provider={"models": ["m"]}), "spec.provider.credentialSecretRef"),
    "access mode": (tenant(workspace={"accessMode": "ReadOnlyMany"}), "spec.workspace.accessMode"),
    "no sessions": (tenant(sessions={"maxConcurrent": 0}), "spec.sessions.maxConcurrent"),
}


@pytest.mark.parametrize("case", WRONG_TENANTS)
async def test_a_wrong_tenant_is_refused_by_field(api: ApiClient, served: str, case: str) -> None:
    body, remedy = WRONG_TENANTS[case]
    with pytest.raises(InvalidError) as refused:
        await create(api, AGENTTENANTS, served, body)
    assert remedy in str(refused.value)


CHANGES = {
    "prompt": ({"prompt": "other"}, "prompt cannot be changed: make a new AgentSession"),
    "model": ({"agent": {"model": "n"}}, "agent cannot be changed"),
    "lifecycle": ({"lifecycle": "Ephemeral", "followUps": []}, "lifecycle cannot be changed"),
    "tenant": ({"tenantRef": {"name": "richer"}}, "tenantRef cannot be changed"),
    "follow-up taken back": ({"followUps": []}, "followUps is append-only"),
    "follow-up changed": ({"followUps": [{"id": "a", "prompt": "c"}]}, "a follow-up cannot be changed"),
    "wall clock raised": ({"limits": {"wallClock": "31m"}}, "may be lowered, not raised"),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_what_was_asked_cannot_be_changed(api: ApiClient, served: str, case: str) -> None:
    first = session(lifecycle="LongRunning", followUps=[{"id": "a", "prompt": "b"}], limits={"wallClock": "30m"})
    await create(api, AGENTSESSIONS, served, first)
    change, remedy = CHANGES[case]
    with pytest.raises(InvalidError) as refused:
        await api.merge_patch(AGENTSESSIONS, (served, NAME), {"spec": change})
    assert remedy in str(refused.value)


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
