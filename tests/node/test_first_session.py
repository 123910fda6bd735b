"""From `kubectl apply` to the answer, on a real node."""

import pytest

from agentsession.kube.resource import AGENTSESSIONS

from .world import Team, reason

pytestmark = pytest.mark.node


async def test_an_answer_stands_in_status_and_the_runner_is_gone(team: Team) -> None:
    await team.start("s", "[[say: forty-two]]")
    done = await team.finished("s")
    assert reason(done) == "Completed"
    assert done.status.result is not None
    assert done.status.result.text == "forty-two"
    assert done.status.session_id is not None
    while await team.pod(done) is not None:
        pass


async def test_tokens_in_status_are_what_the_model_served(team: Team) -> None:
    script = '[[usage: in=11 out=22 cache_read=33 cache_write=44]] [[tool: Bash {"command": "true"}]] [[say: done]]'
    await team.start("s", script)
    done = await team.finished("s")
    served = [item["usage"] for item in await team.world.model.requests(team.key)]
    assert len(served) == 2
    assert done.status.usage is not None
    assert done.status.usage.requests == 2
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert getattr(done.status.usage, name) == sum(usage[name] for usage in served)
    assert not done.status.usage.estimated


async def test_a_conversation_goes_on(team: Team) -> None:
    await team.start("s", "[[say: one]]", lifecycle="LongRunning")
    await team.idle("s")
    more = {"spec": {"followUps": [{"id": "more", "prompt": "[[say: two]]"}]}}
    await team.world.api.merge_patch(AGENTSESSIONS, (team.namespace, "s"), more)
    second = await team.idle("s", turns=2)
    assert [turn.text for turn in second.status.turns] == ["one", "two"]
    last = (await team.world.model.requests(team.key))[-1]
    assert "[[say: one]]" in str(last["body"]["messages"])
