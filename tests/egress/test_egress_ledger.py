"""Counters that only grow, and a sequence that lets a reader ask for what is new."""

from decimal import Decimal

import pytest

from agentsession.api.report import TenantCredential
from agentsession.api.session import AgentSession
from agentsession.egress.ledger import Ledger
from agentsession.egress.usage import Tokens

from . import build

pytestmark = pytest.mark.unit


def test_counters_add_up() -> None:
    ledger = Ledger("one")
    session = build.parsed_session()
    for _ in range(2):
        ledger.begin(session, build.NOW)
        ledger.bill(session, Tokens(1, 2, 0, 3, 4), Decimal("0.000010"))
    (told,) = ledger.report(0).sessions
    meter = told.meter
    assert (told.session_uid, told.namespace, told.session_name) == ("session-a", "team", "a")
    assert (meter.incarnation, meter.requests, meter.input_tokens, meter.output_tokens) == ("one", 2, 2, 8)
    assert (meter.cache_creation_input_tokens, meter.cache_read_input_tokens) == (4, 6)
    assert (meter.cost_usd, meter.estimated, told.first_request) == ("0.00002", False, build.NOW)


def test_one_estimate_marks_the_whole() -> None:
    ledger = Ledger("one")
    session = build.parsed_session()
    for tokens in (Tokens(1, estimated=True), Tokens(1)):
        ledger.begin(session, build.NOW)
        ledger.bill(session, tokens, Decimal(0))
    assert ledger.report(0).sessions[0].meter.estimated


def test_what_is_under_way_is_open_until_it_is_billed() -> None:
    ledger = Ledger("one")
    session = build.parsed_session()
    told = []
    for step in (ledger.begin, ledger.begin):
        step(session, build.NOW)
        told.append(ledger.report(0).sessions[0].open)
    for _ in range(2):
        seen = ledger.sequence
        ledger.bill(session, Tokens(), Decimal(0))
        told.append(ledger.report(seen).sessions[0].open)
    assert told == [1, 2, 1, 0]


def test_only_what_is_new_is_told() -> None:
    ledger = Ledger("one")
    session = build.parsed_session()
    ledger.begin(session, build.NOW)
    seen = ledger.report(0).sequence
    assert ledger.report(seen).sessions == []
    credential = TenantCredential(namespace="team", name="default", generation=1, state="Ready")
    ledger.credential(credential)
    after = ledger.report(seen)
    assert (after.sessions, after.tenants) == ([], [credential])
    ledger.credential(credential)
    assert ledger.report(after.sequence).tenants == []
    ledger.bill(session, Tokens(1), Decimal(0))
    assert [told.meter.requests for told in ledger.report(after.sequence).sessions] == [1]


def test_requests_are_those_of_every_incarnation() -> None:
    ledger = Ledger("one")
    meters = [{"incarnation": "one", "requests": 50}, {"incarnation": "zero", "requests": 3}]
    session = build.parsed_session(usage={"meters": meters})
    assert ledger.requests(session) == 3
    ledger.begin(session, build.NOW)
    assert ledger.requests(session) == 4


def test_a_stop_is_told_until_requests_go_on() -> None:
    ledger = Ledger("one")
    session = build.parsed_session()
    ledger.stop(session, "TurnLimit")
    stopped = ledger.report(0)
    assert (stopped.sessions[0].stopped, stopped.sessions[0].first_request) == ("TurnLimit", None)
    ledger.stop(session, "TurnLimit")
    assert ledger.report(stopped.sequence).sessions == []
    ledger.begin(session, build.NOW)
    assert ledger.report(stopped.sequence).sessions[0].stopped is None


def test_the_deleted_are_forgotten() -> None:
    ledger = Ledger("one")
    ledger.begin(build.parsed_session(), build.NOW)
    ledger.credential(TenantCredential(namespace="team", name="default", generation=1, state="Ready"))
    ledger.keep_only({"session-a"}, {("team", "default")})
    assert (len(ledger.report(0).sessions), len(ledger.report(0).tenants)) == (1, 1)
    ledger.keep_only(set(), set())
    assert (ledger.report(0).sessions, ledger.report(0).tenants) == ([], [])


def test_the_last_report_tells_those_who_go_on_elsewhere_that_all_is_counted() -> None:
    ledger = Ledger("one")
    going_on, over = build.parsed_session(), AgentSession.model_validate(build.session("b"))
    for session in (going_on, over):
        ledger.begin(session, build.NOW)
    before = ledger.report(0)
    assert (before.final, {told.meter.final for told in before.sessions}) == (False, {False})
    ledger.close({going_on.metadata.uid, "never-served"})
    last = ledger.report(before.sequence)
    assert (last.final, ledger.reported) == (True, ledger.sequence)
    assert [(told.session_uid, told.meter.final, told.meter.requests) for told in last.sessions] == [
        ("session-a", True, 1)
    ]


def test_the_last_report_of_a_process_that_served_nobody_is_new_too() -> None:
    ledger = Ledger("one")
    ledger.report(0)
    ledger.close(set())
    assert ledger.reported < ledger.sequence


def test_the_last_report_is_told_when_the_leaders_of_all_shards_have_it() -> None:
    ledger = Ledger("one", shards=2)
    ledger.begin(build.parsed_session(), build.NOW)
    ledger.report(0, shard=1)
    ledger.report(0, shard=7)
    assert ledger.reported < ledger.sequence
    ledger.report(0)
    assert ledger.reported == ledger.sequence
