"""What a session's pool has for it, and what the session does with that."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession, AgentSessionStatus
from agentsession.keys.grant import Grant
from agentsession.runners.podview import PodView
from agentsession.runners.requirements import admits
from agentsession.runners.trouble import Trouble
from agentsession.sessions.decide import WAIT, decide
from agentsession.sessions.offer import Offer, offer, template_of
from agentsession.sessions.plan import Bind, Claim, CreateRunner, DeleteRunner
from agentsession.sessions.removal import CUT_OFF
from tests.pools.test_decide import CURRENT, pool, warm
from tests.sessions.build import INSTALL, NOW, UID, observed, pod, runner, said, served, session, tenant

pytestmark = pytest.mark.unit


def asks(**ref: Any) -> AgentSession:
    return session(agent=None, poolRef={"name": "p", **ref})


def offered(
    who: AgentSession, *runners: PodView, of: AgentPool | None = None, wanted: str = CURRENT, ahead: int = 0
) -> Offer:
    return offer(who, tenant(), of or pool(), wanted, CURRENT, runners, ahead)


def reason(made: Offer) -> str:
    return made.none.reason if made.none is not None else ""


def claimed_pod(**fields: Any) -> PodView:
    grant = Grant(
        pod_uid="a",
        session_uid=UID,
        session_name="s",
        namespace="n",
        tenant="default",
        tenant_uid="t-1",
        epoch=1,
        claimed=NOW,
    )
    return pod(name="p-a", uid="a", grant=grant, **fields)


def test_the_first_ready_one_is_offered() -> None:
    starting, first, second = warm("a", ready=False), warm("c"), warm("b")
    assert offered(asks(), starting, first, second).runner == first


@pytest.mark.parametrize(
    "unfit",
    [
        warm("a", "rev-1"),
        warm("a", ready=False),
        warm("a", gone_by=NOW),
        warm("a", phase="Failed"),
        pod(membership=None, grant=None),
        pod(),
    ],
    ids=["stale", "not ready", "deleting", "ended", "not made by the operator", "granted"],
)
def test_an_unfit_one_is_not(unfit: PodView) -> None:
    assert offered(asks(), unfit).runner is None


def test_older_sessions_come_first() -> None:
    first, second = warm("a"), warm("b")
    assert offered(asks(), first, second, ahead=1).runner == second
    assert reason(offered(asks(onExhausted="Wait"), first, second, ahead=2)) == "PoolExhausted"


def test_what_the_pool_is_not_starts_cold() -> None:
    assert reason(offered(asks(), warm("a"), wanted="another")) == "ColdStart"
    assert reason(offered(asks(), warm("a"), of=pool(tenantRef={"name": "other"}))) == "ColdStart"


SHARED: dict[str, Any] = {"allowedNamespaces": {"selector": {"matchLabels": {"team": "a"}}}}


def test_a_shared_pool_is_for_every_tenant_that_keeps_no_files() -> None:
    there = pool(**SHARED)
    assert offered(asks(), warm("a"), of=there).runner == warm("a")
    keeps = offer(asks(), tenant(workspace={"size": "1Gi"}), there, CURRENT, CURRENT, [warm("a")], 0)
    assert reason(keeps) == "ColdStart"
    assert keeps.none is not None
    assert "AgentTenant default has a workspace" in keeps.none.message


@pytest.mark.parametrize(
    ("of", "namespace", "labels", "listed", "may"),
    [
        ({}, "n", {}, [], True),
        ({}, "m", {}, ["n"], False),
        (SHARED, "n", {}, [], True),
        (SHARED, "m", {"team": "a"}, ["n"], True),
        (SHARED, "m", {"team": "b"}, ["n"], False),
        (SHARED, "m", {}, ["n"], False),
        (SHARED, "m", {"team": "a"}, ["m"], False),
        ({"allowedNamespaces": {"selector": {}}}, "m", {}, ["n"], True),
        ({"tenantRef": {"name": "default"}}, "m", {"team": "a"}, ["n"], False),
    ],
)
def test_whom_a_pool_admits(
    of: dict[str, Any], namespace: str, labels: dict[str, str], listed: list[str], *, may: bool
) -> None:
    install = INSTALL.model_copy(update={"shared_pool_namespaces": listed})
    assert admits(pool(**of), namespace, labels, install) == may


def test_consent_is_asked_before_a_claim_and_as_long_as_it_lasts() -> None:
    who = asks(namespace="pools")
    away = replace(warm("a"), namespace="pools")
    none, given = tenant(), tenant(sharedPools={"namespaces": ["pools"]})
    told = decide(who, observed(tenant=none, offer=Offer(runner=away)), INSTALL, NOW)
    assert (told.actions, reason_of(told.status)) == ([], "SharedPoolNotAllowed")
    claim = decide(who, observed(tenant=given, offer=Offer(runner=away)), INSTALL, NOW).actions
    assert [(type(action), getattr(action, "pod", None)) for action in claim] == [(Claim, ("pools", "a"))]

    taken = claimed_pod(namespace="pools")
    before = decide(who, observed(tenant=none, pod=taken), INSTALL, NOW)
    assert before.actions == [DeleteRunner(("pools", "p-a"), "a", CUT_OFF)]
    busy = runner("Ready", said(phase="Running"))
    after = decide(who, observed(tenant=none, pod=taken, runner=busy), INSTALL, NOW)
    assert (after.status.phase, reason_of(after.status)) == ("Failed", "SharedPoolNotAllowed")
    cut_off = decide(who, observed(tenant=none, pod=taken, runner=runner("Ready", said(phase="Failed"))), INSTALL, NOW)
    assert reason_of(cut_off.status) == "SharedPoolNotAllowed"
    assert decide(who, observed(tenant=given, pod=taken, runner=busy), INSTALL, NOW).status.phase == "Running"


def reason_of(status: AgentSessionStatus) -> str:
    return next(item.reason for item in status.conditions if item.type == "Ready")


def test_an_empty_pool_means_a_cold_start_or_waiting() -> None:
    assert reason(offered(asks())) == "ColdStart"
    assert reason(offered(asks(onExhausted="Wait"))) == "PoolExhausted"


def test_who_says_that_it_waits_looks_again_at_once() -> None:
    """What became free before it said so woke nobody."""
    none = Offer(none=Trouble("PoolExhausted", "none ready"))
    first = decide(asks(), observed(offer=none), INSTALL, NOW)
    assert first.requeue_after == timedelta(0)
    assert decide(session(status=first.status), observed(offer=none), INSTALL, NOW).requeue_after == WAIT


def test_what_is_left_to_the_pool_comes_from_it() -> None:
    there = pool(template={"agent": {"model": "m"}, "runtime": {"image": "runner:2"}})
    assert template_of(asks(), there) == there.spec.template
    assert template_of(asks(), None) is None
    own = template_of(session(poolRef={"name": "p"}), there)
    assert own is not None
    assert own.runtime.image is None


def test_a_claim_is_told_of_only_once_it_has_been_prompted() -> None:
    who = session(poolRef={"name": "p"})
    free = warm("a", started=NOW - timedelta(minutes=10))
    plan = decide(who, observed(offer=Offer(runner=free)), INSTALL, NOW)
    assert plan.actions == [Claim("pool-1", ("n", "a"), "a", timedelta(minutes=70))]
    assert (plan.at_once, plan.status, plan.settle_usage) == (True, who.status, False)

    plan = decide(who, observed(pod=claimed_pod()), INSTALL, NOW)
    (bind,) = plan.actions
    assert isinstance(bind, Bind)
    assert bind.prompt is not None
    assert bind.prompt.text == "hello"
    assert (plan.at_once, plan.status) == (True, who.status)

    busy = runner("Ready", said(phase="Running"))
    plan = decide(who, observed(pod=claimed_pod(), runner=busy), INSTALL, NOW)
    assert not plan.at_once
    assert (plan.status.phase, plan.status.start_type, plan.status.pod_name) == ("Running", "Warm", "p-a")
    assert plan.status.timings.claimed == NOW
    assert plan.status.session_id == busy.session_id


def test_the_wall_clock_of_a_claimed_runner_begins_with_the_claim() -> None:
    who = session(limits={"wallClock": "10m"})
    worn = claimed_pod(started=NOW - timedelta(hours=5), deadline=timedelta(hours=5, minutes=10))
    assert (
        decide(who, observed(pod=worn, runner=runner("Ready", said(phase="Running"))), INSTALL, NOW).status.phase
        == "Running"
    )


def test_a_claimed_runner_that_died_before_it_was_asked_is_replaced_at_once() -> None:
    dead = claimed_pod(phase="Failed", running=False, ended_at=NOW, trouble=Trouble("RunnerExited", "x"))
    assert decide(session(), observed(pod=dead), INSTALL, NOW).actions == [DeleteRunner(("n", "p-a"), "a")]
    free = Offer(runner=warm("b"))
    plan = decide(session(), observed(offer=free, claimed_before=True), INSTALL, NOW)
    assert plan.settle_usage


def test_what_the_model_was_asked_is_not_asked_again_by_another_runner() -> None:
    """The bind's answer was lost, and then the runner: only the egress plane knows that it had begun."""
    asked = served(first_request=NOW.isoformat())
    plan = decide(session(), observed(offer=Offer(runner=warm("b")), usage=[asked]), INSTALL, NOW)
    assert plan.status.phase == "Failed"
    assert not any(isinstance(action, Claim | CreateRunner) for action in plan.actions)


def test_an_end_that_is_the_first_thing_told_tells_of_the_claim() -> None:
    """The operator that had claimed died, and the next one found the answer."""
    answered = runner("Ready", said())
    plan = decide(session(), observed(pod=claimed_pod(), runner=answered), INSTALL, NOW)
    assert (plan.status.phase, plan.status.start_type, plan.status.pod_name) == ("Succeeded", "Warm", "p-a")


def test_a_second_pod_of_a_session_goes() -> None:
    stray = claimed_pod()
    plan = decide(session(), observed(pod=pod(), strays=[stray]), INSTALL, NOW)
    assert DeleteRunner(("n", "p-a"), "a") in plan.actions


def test_why_it_starts_cold_stands_until_it_is_ready() -> None:
    why = Trouble("ColdStart", "none ready")
    plan = decide(session(), observed(offer=Offer(none=why)), INSTALL, NOW)
    assert plan.actions == [CreateRunner()]
    ready = next(c for c in plan.status.conditions if c.type == "Ready")
    assert (ready.reason, ready.message) == ("ColdStart", "none ready")
    going = session(status=plan.status)
    again = decide(going, observed(pod=pod(running=False, contained=False)), INSTALL, NOW)
    assert next(c for c in again.status.conditions if c.type == "Ready").reason == "ColdStart"


def test_a_missing_pool_is_waited_for() -> None:
    plan = decide(asks(), observed(template=None), INSTALL, NOW)
    resolved = next(c for c in plan.status.conditions if c.type == "ResolvedRefs")
    assert (resolved.status, resolved.reason) == ("False", "PoolNotFound")
    assert "create it" in resolved.message
