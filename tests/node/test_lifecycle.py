"""A session's way and its ends, on a real node."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentsession.api.session import AgentSession
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, EVENTS
from devcluster.demo import scene
from devcluster.kubectl import kubectl
from tests.kube.kinds import QUOTAS

from .world import SECONDS, Installed, Team, World, entered, raised, reason, side_by_side

pytestmark = pytest.mark.node

SECRET_TEXT = "a-word-that-only-the-prompt-has"
LONG = "0123456789abcdef" * 2048


def tool(command: str) -> str:
    """A step in which the model asks for a Bash command."""
    return f"[[tool: Bash {json.dumps({'command': command})}]]"


@dataclass(frozen=True)
class Ending:
    """A session and how it must end."""

    prompt: str
    reason: str
    says: str = ""
    """Part of the message of Ready."""
    requests: int = 1
    """Model requests that status must count."""
    spec: dict[str, Any] = field(default_factory=dict)
    estimated: bool = False


ENDINGS = {
    "400": Ending(
        '[[error: 400 invalid_request_error message="this is bad"]] [[headers: x-should-retry=false]]',
        "TurnFailed",
        "this is bad",
    ),
    "401-at-first": Ending(
        "[[error: 401 authentication_error times=1]] [[say: a key was just rotated]]", "Completed", requests=2
    ),
    "529": Ending(
        '[[error: 529 overloaded_error message="come back later"]] [[headers: x-should-retry=false]]',
        "TurnFailed",
        "come back later",
    ),
    "failing-tool": Ending(f"{tool('echo not-there >&2; exit 3')} [[say: it failed]]", "Completed", requests=2),
    "structured": Ending(
        '[[tool: StructuredOutput {"class": "bug"}]]',
        "Completed",
        spec={
            "agent": {
                "outputFormat": {
                    "jsonSchema": {
                        "type": "object",
                        "properties": {"class": {"type": "string"}},
                        "required": ["class"],
                    }
                }
            }
        },
    ),
    "long-answer": Ending(f"[[say: {LONG}]]", "Completed"),
    "loop": Ending(
        f"[[repeat: 50 {tool('echo round {n}')}]]", "TurnLimitReached", "limits.turns", 3, {"limits": {"turns": 3}}
    ),
    "hang": Ending(
        "[[hang]]", "WallClockExceeded", "limits.wallClock", spec={"limits": {"wallClock": "30s"}}, estimated=True
    ),
}


@dataclass(frozen=True)
class Ended:
    """What there was to see in the end."""

    session: AgentSession
    events: list[KubeObject]
    served: list[dict[str, Any]]
    """The scripted model's records of it."""


async def _see(team: Team, name: str, ending: Ending) -> Ended:
    await team.start(name, f"{ending.prompt} {SECRET_TEXT}", **ending.spec)
    done = await team.finished(name)
    await team.no_pod(done)
    if ending.estimated:  # what was cut off is counted after the end
        await team.until(name, lambda now: now.status.usage is not None and now.status.usage.estimated)
    events = (await team.world.api.list(EVENTS, namespace=team.namespace)).items
    return Ended(
        await team.session(name),
        [event for event in events if event["regarding"]["name"] == name],
        [item for item in await team.world.model.requests(team.key) if item["session"] == done.status.session_id],
    )


@pytest.fixture(scope="module")
def endings(installed: Installed) -> dict[str, Ended | BaseException]:
    """All of ENDINGS, run side by side."""

    async def run() -> dict[str, Ended | BaseException]:
        async with entered(installed) as world:
            team = await world.team()
            await team.tenant_says("Ready")  # a session that comes before tells of that too
            return await side_by_side({name: _see(team, name, ending) for name, ending in ENDINGS.items()})

    return asyncio.run(run())


@pytest.fixture
def ended(endings: dict[str, Ended | BaseException], name: str) -> Ended:
    """What was seen of one."""
    return raised(endings[name])


@pytest.mark.parametrize("name", ENDINGS)
def test_it_ends_and_says_why(ended: Ended, name: str) -> None:
    ending, session = ENDINGS[name], ended.session
    well = ending.reason == "Completed"
    ready = next(item for item in session.status.conditions if item.type == "Ready")
    assert (ready.reason, ready.status) == (ending.reason, "True" if well else "False")
    assert ending.says in ready.message
    assert reason(session, "Finished") == ending.reason
    assert reason(session, "Stalled") == (None if well else ending.reason)
    assert reason(session, "Reconciling") is None
    assert session.status.phase == ("Succeeded" if well else "Failed")
    assert session.status.result is not None
    assert session.status.result.is_error != well
    assert [turn.state for turn in session.status.turns] == ["Completed" if well else "Failed"]


@pytest.mark.parametrize("name", ENDINGS)
def test_usage_is_what_was_served(ended: Ended, name: str) -> None:
    ending = ENDINGS[name]
    usage = ended.session.status.usage
    assert usage is not None
    assert usage.requests >= ending.requests
    assert usage.requests == len(ended.served)
    assert usage.estimated == ending.estimated
    if not ending.estimated:
        served = [item["usage"] for item in ended.served if item["usage"] is not None]
        for field_ in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            assert getattr(usage, field_) == sum(item[field_] for item in served)


@pytest.mark.parametrize("name", ENDINGS)
def test_each_end_is_one_event_without_session_text(ended: Ended, name: str) -> None:
    events = ended.events
    assert sorted(event["reason"] for event in events) == sorted(["Connected", ENDINGS[name].reason])
    for event in events:
        assert SECRET_TEXT not in event["note"]
        assert "bad" not in event["note"]
        assert "later" not in event["note"]


@pytest.mark.parametrize("name", ["long-answer"])
def test_a_long_answer_is_cut(ended: Ended) -> None:
    status = ended.session.status
    assert status.result is not None
    assert status.result.truncated
    assert status.result.text == LONG[: 16 * 1024]
    assert status.turns[0].text == LONG[:2048]


@pytest.mark.parametrize("name", ["structured"])
def test_an_answer_of_a_given_form(ended: Ended) -> None:
    result = ended.session.status.result
    assert result is not None
    assert json.loads(result.text) == {"class": "bug"}


@pytest.mark.parametrize("name", ["failing-tool"])
def test_the_agent_sees_why_its_tool_failed(ended: Ended) -> None:
    last = ended.served[-1]["body"]["messages"][-1]["content"]
    failed = next(block for block in last if block["type"] == "tool_result")
    assert failed["is_error"]
    assert "not-there" in str(failed["content"])
    assert ended.session.status.result is not None
    assert ended.session.status.result.text == "it failed"


async def test_follow_ups_are_asked_in_order_in_one_conversation(team: Team) -> None:
    begun = await team.start("s", "[[say: one]]", lifecycle="LongRunning", followUps=_asked("a", "b"))
    await team.idle("s", turns=3)
    await team.world.api.merge_patch(
        AGENTSESSIONS, (team.namespace, "s"), {"spec": {"followUps": _asked("a", "b", "c")}}
    )
    talked = await team.idle("s", turns=4)
    assert [(turn.id, turn.text) for turn in talked.status.turns] == [
        ("prompt", "one"),
        ("a", "answer a"),
        ("b", "answer b"),
        ("c", "answer c"),
    ]
    assert talked.status.phase == "Idle"
    assert reason(talked, "Active") == "WaitingForInput"
    sent = await team.world.model.requests(team.key)
    assert len(sent) == 4
    assert len(sent[-1]["body"]["messages"]) == 7
    await team.world.api.delete(AGENTSESSIONS, (team.namespace, "s"))
    await team.no_pod(begun)


def _asked(*ids: str) -> list[dict[str, str]]:
    return [{"id": name, "prompt": f"[[say: answer {name}]]"} for name in ids]


async def test_a_finished_session_is_deleted_after_its_ttl(team: Team) -> None:
    begun = await team.start("s", "[[say: soon gone]]", ttlSecondsAfterFinished=1)
    async with asyncio.timeout(30):
        while await team.exists("s"):
            await asyncio.sleep(0.1)
    await team.no_pod(begun)


async def test_deleting_a_session_in_the_middle_of_a_turn_ends_it(team: Team) -> None:
    begun = await team.start("s", "[[stream: events=3000 interval=0.1]]")
    await team.until("s", lambda now: now.status.phase == "Running")
    await team.model_sent(1)
    await team.world.api.delete(AGENTSESSIONS, (team.namespace, "s"))
    async with asyncio.timeout(10):
        while (await team.world.model.requests(team.key))[0]["outcome"] == "open":
            await asyncio.sleep(0.1)
    await team.no_pod(begun)
    assert len(await team.world.model.requests(team.key)) == 1


async def test_sessions_above_the_tenants_limit_wait_for_their_turn_oldest_first(team: Team) -> None:
    patch = {"spec": {"sessions": {"maxConcurrent": 1}}}
    await team.world.api.merge_patch(AGENTTENANTS, (team.namespace, "default"), patch)
    await team.start("s0", "[[say: first]]", lifecycle="LongRunning")
    await team.idle("s0")
    for name in ("s1", "s2"):
        await team.start(name, f"[[say: {name}]]")
    for name in ("s1", "s2"):
        waiting = await team.until(name, lambda now: reason(now) == "TenantAtCapacity")
        assert reason(waiting, "Reconciling") == "TenantAtCapacity"
        assert waiting.status.pod_name is None
    await team.world.api.delete(AGENTSESSIONS, (team.namespace, "s0"))
    first, second = await team.finished("s1"), await team.finished("s2")
    assert first.status.timings.finished is not None
    assert second.status.timings.ready is not None
    assert first.status.timings.finished <= second.status.timings.ready


async def test_a_quota_that_refuses_the_pod_is_said_and_heals(team: Team) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": team.namespace}}
    await team.world.api.create(QUOTAS, {**quota, "spec": {"hard": {"pods": "0"}}})
    async with asyncio.timeout(SECONDS):
        while "status" not in await team.world.api.get(QUOTAS, (team.namespace, "none")):
            await asyncio.sleep(0.1)
    await team.start("s", "[[say: at last]]")
    refused = await team.until("s", lambda now: reason(now) == "PodRefused")
    ready = next(item for item in refused.status.conditions if item.type == "Ready")
    assert "exceeded quota: none" in ready.message
    assert reason(refused, "Reconciling") == "PodRefused"
    await team.world.api.merge_patch(QUOTAS, (team.namespace, "none"), {"spec": {"hard": {"pods": "5"}}})
    assert reason(await team.finished("s")) == "Completed"


class TestExamples:
    """manifests/examples, applied as they are by kubectl."""

    async def test_an_answer(self, team: Team) -> None:
        _apply(team, "answer")
        done = await team.finished("answer")
        assert done.status.result is not None
        assert "warm pool" in done.status.result.text

    async def test_a_tool_that_writes_a_file(self, team: Team) -> None:
        _apply(team, "tool")
        done = await team.finished("tool")
        assert reason(done) == "Completed"
        assert "Linux" in str((await team.world.model.requests(team.key))[-1]["body"]["messages"][-1])

    async def test_a_conversation_with_the_command_in_its_comment(self, team: Team) -> None:
        text = _apply(team, "conversation")
        await team.idle("conversation")
        comment = " ".join(line.lstrip("# ").rstrip("\\") for line in text.splitlines() if line.startswith("#   "))
        operations = json.loads(comment.split("-p '")[1].rstrip("'"))
        await team.world.api.json_patch(AGENTSESSIONS, (team.namespace, "conversation"), operations)
        talked = await team.idle("conversation", turns=2)
        assert [turn.id for turn in talked.status.turns] == ["prompt", "more"]

    async def test_one_that_is_held_back_with_the_command_in_its_comment(self, world: World) -> None:
        team = await world.team(workspace={"size": "1Gi"})
        text = _apply(team, "suspended")
        held = await team.until("suspended", lambda now: now.status.phase == "Suspended")
        assert await team.pod(held) is None
        change = json.loads(text.split("-p '")[1].split("'")[0])
        await world.api.merge_patch(AGENTSESSIONS, held.key, change)
        assert (await team.idle("suspended")).status.start_type == "Cold"

    async def test_a_prompt_from_a_config_map(self, team: Team) -> None:
        _apply(team, "prompt-from", say='[[tool: StructuredOutput {"class": "bug"}]]')
        done = await team.finished("triage")
        assert done.status.result is not None
        assert json.loads(done.status.result.text) == {"class": "bug"}
        assert await team.exists("triage")

    async def test_one_that_is_wrong_until_the_tenant_has_its_model(self, team: Team) -> None:
        _apply(team, "wrong")
        await team.until("wrong", lambda now: reason(now) == "ModelNotAllowed")
        models = {"spec": {"provider": {"models": [scene.MODEL, "a-model-that-nobody-granted"]}}}
        await team.world.api.merge_patch(AGENTTENANTS, (team.namespace, "default"), models)
        assert reason(await team.finished("wrong")) == "Completed"

    async def test_a_tenant_made_by_hand(self, world: World) -> None:
        team = await world.team(grant=False, tenant=False)
        _apply(team, "tenant")
        await world.api.merge_patch(
            AGENTTENANTS, (team.namespace, "default"), {"spec": {"provider": {"baseURL": scene.SCRIPTED_API}}}
        )
        await team.tenant_says("Ready")


def _apply(team: Team, name: str, say: str = "") -> str:
    """Apply an example; `say` is added to the prompt in its ConfigMap, for the scripted model. Returns its text."""
    text = Path(scene.EXAMPLES / f"{name}.yaml").read_text()
    objects = list(yaml.safe_load_all(text))
    for item in objects:
        if item["kind"] == "ConfigMap":
            item["data"] = {key: value + say for key, value in item["data"].items()}
    applied = yaml.safe_dump_all(objects)
    kubectl(team.world.installed.kubeconfig, "apply", "-n", team.namespace, "-f", "-", stdin=applied)
    return text
