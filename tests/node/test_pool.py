"""A pool's runner on a real node: warm before anybody asks, then one session's alone."""

import asyncio
import json
from typing import Any

import pytest

from agentsession.api.base import condition
from agentsession.api.pool import AgentPool
from agentsession.kube.errors import ForbiddenError, NotFoundError
from agentsession.kube.objects import KubeObject
from agentsession.kube.resource import AGENTPOOLS, PODS
from devcluster.demo import scene

from .test_restarts import assert_exact
from .world import SECONDS, Team, reason

pytestmark = pytest.mark.node


async def make_pool(team: Team, name: str = "warm", replicas: int = 1, **spec: Any) -> None:
    agent = {"model": scene.MODEL, "allowedTools": ["Bash", "Read", "Write"]}
    body = {
        "apiVersion": "agentsession.io/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": name, "namespace": team.namespace},
        "spec": {"template": {"agent": agent}, "replicas": replicas, **spec},
    }
    await team.world.api.create(AGENTPOOLS, body)


async def pool(team: Team, name: str = "warm") -> AgentPool:
    return AgentPool.model_validate(await team.world.api.get(AGENTPOOLS, (team.namespace, name)))


async def ready(team: Team, runners: int, name: str = "warm") -> AgentPool:
    try:
        async with asyncio.timeout(SECONDS):
            while (now := await pool(team, name)).status.ready_replicas != runners:
                await asyncio.sleep(0.1)
            return now
    except TimeoutError:
        raise AssertionError((await pool(team, name)).status) from None


async def runners(team: Team) -> dict[str, KubeObject]:
    found = await team.world.api.list(PODS, namespace=team.namespace, label_selector="agentsession.io/pool-uid")
    return {pod["metadata"]["name"]: pod for pod in found.items}


async def test_a_session_is_given_a_runner_that_is_warm_and_another_takes_its_place(team: Team) -> None:
    await make_pool(team)
    await ready(team, 1)
    (name,) = await runners(team)
    await team.start("s", "[[say: warm]]", agent=None, poolRef={"name": "warm"})
    done = await team.finished("s")
    assert reason(done) == "Completed"
    assert (done.status.start_type, done.status.pod_name) == ("Warm", name)
    assert done.status.result is not None
    assert done.status.result.text == "warm"
    assert_exact(done, await team.world.model.requests(team.key))
    timings = done.status.timings
    assert timings.claimed is not None
    assert timings.ready is not None
    assert timings.first_model_request is not None
    assert timings.claimed <= timings.ready
    await ready(team, 1)
    assert name not in await runners(team)


async def test_a_runner_that_serves_nobody_gets_nothing_from_the_egress_plane(team: Team) -> None:
    """Its identity is good, and worth nothing until it is claimed: the same request passes once it is."""
    await make_pool(team)
    await ready(team, 1)
    (name,) = await runners(team)
    ask = (
        "import json,os,pathlib,urllib.request as u;"
        "t=pathlib.Path('/tmp/identity/token') if pathlib.Path('/tmp/identity/token').exists() else None;"
        "print(sorted(str(p) for p in pathlib.Path('/tmp').rglob('*token*')))"
    )
    found = team.world.execute(team.namespace, name, "python", "-c", ask)
    assert found.code == 0, found.err
    (token,) = json.loads(found.out.replace("'", '"'))
    body = json.dumps({"model": scene.MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]})
    post = (
        "import os,pathlib,urllib.request as u,urllib.error as e\n"
        f"r=u.Request(os.environ['AGENTSESSION_EGRESS_URL']+'/v1/messages',data={body!r}.encode(),"
        f"headers={{'authorization':'Bearer '+pathlib.Path({token!r}).read_text().strip(),"
        "'content-type':'application/json','anthropic-version':'2023-06-01'})\n"
        "try: print(u.urlopen(r).status)\n"
        "except e.HTTPError as x: print(x.code, x.read().decode())\n"
    )
    refused = team.world.execute(team.namespace, name, "python", "-c", post)
    assert refused.out.startswith("403"), (refused.out, refused.err)
    assert "serves no session" in refused.out
    await team.start("s", "[[say: hello]]", agent=None, poolRef={"name": "warm"}, lifecycle="LongRunning")
    await team.idle("s")
    admitted = team.world.execute(team.namespace, name, "python", "-c", post)
    assert admitted.out.startswith("200"), (admitted.out, admitted.err)


async def test_an_empty_pool_starts_cold_and_says_so_or_makes_wait(team: Team) -> None:
    await make_pool(team, replicas=0)
    await ready(team, 0)
    await team.start("cold", "[[say: cold]]", agent=None, poolRef={"name": "warm"})
    await team.start("patient", "[[say: late]]", agent=None, poolRef={"name": "warm", "onExhausted": "Wait"})
    await team.until("patient", lambda now: reason(now) == "PoolExhausted")
    cold = await team.finished("cold")
    assert (reason(cold), cold.status.start_type) == ("Completed", "Cold")
    await team.world.api.merge_patch(AGENTPOOLS, (team.namespace, "warm"), {"spec": {"replicas": 1}})
    late = await team.finished("patient")
    assert (reason(late), late.status.start_type) == ("Completed", "Warm")


async def test_a_new_template_replaces_the_runners(team: Team) -> None:
    await make_pool(team)
    before = await ready(team, 1)
    (old,) = await runners(team)
    change = {"spec": {"template": {"agent": {"systemPrompt": "Be brief."}}}}
    await team.world.api.merge_patch(AGENTPOOLS, (team.namespace, "warm"), change)
    async with asyncio.timeout(SECONDS):
        while (now := await pool(team)).status.ready_replicas != 1 or old in await runners(team):
            await asyncio.sleep(0.1)
    assert now.status.revision != before.status.revision
    progressing = condition((await pool(team)).status.conditions, "Progressing")
    assert progressing is not None


async def test_deleting_a_pool_ends_what_waits_and_leaves_what_serves(team: Team) -> None:
    await make_pool(team, replicas=2)
    await ready(team, 2)
    await team.start("s", "[[say: one]]", agent=None, poolRef={"name": "warm"}, lifecycle="LongRunning")
    serving = await team.idle("s")
    await team.world.api.delete(AGENTPOOLS, (team.namespace, "warm"))
    async with asyncio.timeout(SECONDS):
        while set(await runners(team)) != {serving.status.pod_name}:
            await asyncio.sleep(0.1)
    with pytest.raises(NotFoundError):
        await pool(team)
    asked = {"spec": {"followUps": [{"id": "two", "prompt": "[[say: two]]"}]}}
    from agentsession.kube.resource import AGENTSESSIONS  # noqa: PLC0415

    await team.world.api.merge_patch(AGENTSESSIONS, (team.namespace, "s"), asked)
    assert (await team.idle("s", turns=2)).status.result.text == "two"  # type: ignore[union-attr]


async def test_nobody_else_takes_a_warm_runner(team: Team) -> None:
    """The administrator of the test may write pods, and is refused: the operator's account alone claims."""
    await make_pool(team)
    await ready(team, 1)
    (name,) = await runners(team)
    for change in (
        {"metadata": {"labels": {"agentsession.io/session-uid": "mine"}}},
        {"metadata": {"annotations": {"agentsession.io/grant": "mine"}}},
        {"metadata": {"labels": {"agentsession.io/pool-uid": None}}},
    ):
        with pytest.raises(ForbiddenError, match="agentsession"):
            await team.world.api.merge_patch(PODS, (team.namespace, name), change)
