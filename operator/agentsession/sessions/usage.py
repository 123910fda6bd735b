"""Usage in status: the latest cumulative counters of every egress process that served the session, and their sums."""

from collections.abc import Iterable, Mapping, Set
from datetime import datetime
from decimal import Decimal

from agentsession.api.report import SessionUsage
from agentsession.api.session import AgentSessionStatus, Meter, Turn, Usage

UNHEARD = "unheard"


def settled(usage: Usage | None, reports: Iterable[SessionUsage]) -> Usage | None:
    """Usage of a session that no runner serves any more: where no request is under way all is told, and a process that
    ends later takes nothing with it."""
    if usage is None:
        return None
    busy = {report.meter.incarnation for report in reports if report.open}
    meters = [meter.model_copy(update={"settled": meter.incarnation not in busy}) for meter in usage.meters]
    return usage.model_copy(update={"meters": meters})


def doubtful(usage: Usage | None) -> set[str]:
    """The processes of which it is not known whether all is told."""
    return {m.incarnation for m in usage.meters if not (m.final or m.settled)} if usage is not None else set()


def merged(usage: Usage | None, reports: Iterable[SessionUsage], gone: Set[str] = frozenset()) -> Usage | None:
    """Usage with `reports` in it. What the incarnations in `gone` served is marked estimated, for they may have served
    more than anybody heard of; those that were never heard of it share one empty meter. What was estimated stays so."""
    known = {meter.incarnation: meter for meter in (usage.meters if usage is not None else [])}
    meters = known | {report.meter.incarnation: _told(report.meter, known) for report in reports}
    if gone - meters.keys():
        meters[UNHEARD] = Meter(incarnation=UNHEARD, estimated=True)
    for name in (gone & meters.keys()) | {name for name, meter in known.items() if meter.estimated}:
        meters[name] = meters[name].model_copy(update={"estimated": True})
    if not meters:
        return usage
    counted = totals([meters[name] for name in sorted(meters)])
    return counted.model_copy(update={"until": usage.until}) if usage is not None else counted


def uncounted(
    usage: Usage | None, turns: Iterable[Turn], claimed: datetime | None = None
) -> list[tuple[datetime, datetime | None]]:
    """From when to when it was busy and usage does not tell of it yet; None: it goes on. claimed: when it got a pool's
    runner, if it did: that one is asked the first turn before status tells of it."""
    busy = [(turn.started, turn.finished) for turn in turns]
    if claimed is not None:
        busy[:1] = [(claimed, busy[0][1] if busy else None)]
    until = usage.until if usage is not None else None
    if until is None:
        return busy
    return [(max(begun, until), ended) for begun, ended in busy if ended is None or ended >= until]


def heard_until(
    before: Usage | None, after: Usage | None, turns: Iterable[Turn], until: datetime | None
) -> Usage | None:
    """Usage `after` all that was served until then was heard; None: that is not known. It says so if there is more in
    it than `before`, or if turns have ended: that time passes is alone no reason to write."""
    ended = until is not None and any(end is not None and end < until for _, end in uncounted(before, turns))
    if until is None or not (ended or after != before):
        return after
    return (after or Usage()).model_copy(update={"until": until})


def _told(meter: Meter, known: Mapping[str, Meter]) -> Meter:
    """What was settled stays so until the process serves more."""
    before = known.get(meter.incarnation)
    unmoved = {"settled": False, "estimated": meter.estimated, "final": meter.final}
    if before is None or before.model_copy(update=unmoved) != meter:
        return meter
    return meter.model_copy(update={"settled": before.settled})


def only_counted(before: AgentSessionStatus, after: AgentSessionStatus) -> bool:
    """Whether nothing has changed but what the egress plane counts."""
    counted = {"first_model_request": after.timings.first_model_request}
    timings = before.timings.model_copy(update=counted)
    return before.model_copy(update={"usage": after.usage, "timings": timings}) == after


def totals(meters: list[Meter]) -> Usage:
    """The sum of all meters."""
    input_tokens = sum(m.input_tokens for m in meters)
    cache_creation = sum(m.cache_creation_input_tokens for m in meters)
    cache_read = sum(m.cache_read_input_tokens for m in meters)
    output_tokens = sum(m.output_tokens for m in meters)
    return Usage(
        requests=sum(m.requests for m in meters),
        input_tokens=input_tokens,
        cache_creation_input_tokens=cache_creation,
        cache_read_input_tokens=cache_read,
        output_tokens=output_tokens,
        total_tokens=input_tokens + cache_creation + cache_read + output_tokens,
        cost_usd=f"{sum((Decimal(m.cost_usd) for m in meters), Decimal(0)):f}",
        estimated=any(m.estimated for m in meters),
        meters=meters,
    )
