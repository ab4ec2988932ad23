"""The oracle sees a counter that is wrong, and lets pass what is owned up to."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from infobip_exporter.counting.durations import histogram
from infobip_exporter.metrics import catalog
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.series import Histogram, Series
from infobip_exporter.model.time_range import TimeRange, TimeRanges
from infobip_sandbox.message import Message, plain_message
from simulation.api import History
from simulation.check import Proof
from simulation.oracle import Evidence, Poll, audited, compare, needless

T = 1_790_000_000_000
HOUR_MS = 3_600_000
MESSAGE = plain_message("a", T, settles_after_ms=2000, entity_id="shop", parts=2)
LOST = TimeRanges([(T, T + 1)])
POLLS = [Poll(at_ms, at_ms + 500, well=True, eager=False) for at_ms in range(T, T + LOG_KEEPS_MS, 60_000)]
SETTLED = Evidence(
    begin_ms=T,
    watermark_ms=T + LOG_KEEPS_MS,
    lost=TimeRanges(),
    history=History(
        shown={("a", T): T}, finals={("a", T): {("DELIVERED", "DELIVERED_TO_HANDSET", "NO_ERROR"): None}}
    ),
    polls=POLLS,
)
PENDING = replace(SETTLED, history=History(shown={("a", T): T}))
NEVER_SHOWN = replace(SETTLED, history=History())

Counters = dict[Series, int | Decimal]

SHOP = {"entity_id": "shop", "application_id": ""}
SENT = Series.of(catalog.SENT.name, **SHOP)
DELIVERED = Series.of(catalog.MESSAGES.name, general_status="DELIVERED", error_group="OK", **SHOP)
EXPIRED = Series.of(catalog.MESSAGES.name, general_status="EXPIRED", error_group="OK", **SHOP)
PARTS = Series.of(catalog.PARTS.name, general_status="DELIVERED", **SHOP)
COST = Series.of(catalog.COST.name, currency="EUR", general_status="DELIVERED", **SHOP)
UNRESOLVED: Counters = {SENT: 1, Series.of(catalog.UNRESOLVED.name, general_status="PENDING", **SHOP): 1}
RIGHT: Counters = {SENT: 1, DELIVERED: 1, PARTS: 2, COST: Decimal("0.30")}
TOOK = Series.of(catalog.DELIVERY_DURATION.name, general_status="DELIVERED")


def problems(
    counters: Counters,
    evidence: Evidence,
    took_ms: Mapping[Series, list[int]] | None = None,
    message: Message = MESSAGE,
) -> list[str]:
    histograms: dict[Series, Histogram] = {
        series: histogram(catalog.DELIVERY_DURATION, durations)
        for series, durations in (took_ms or {}).items()
    }
    return compare([message], [], evidence, counters, histograms)


def test_right_counters_have_no_problems() -> None:
    assert problems(RIGHT, SETTLED, {TOOK: [2000]}) == []


@pytest.mark.parametrize(
    ("wrong", "families"),
    [
        ({SENT: 2}, [catalog.SENT]),
        ({SENT: 0}, [catalog.SENT]),
        ({PARTS: 1}, [catalog.PARTS]),
        ({COST: Decimal("0.30000001")}, [catalog.COST]),
        ({DELIVERED: 0, EXPIRED: 1}, [catalog.MESSAGES, catalog.MESSAGES]),
        ({Series.of(catalog.SENT.name, entity_id="ghost", application_id=""): 1}, [catalog.SENT]),
    ],
)
def test_each_wrong_counter_is_named(wrong: Counters, families: list[catalog.Family]) -> None:
    found = problems(RIGHT | wrong, SETTLED, {TOOK: [2000]})
    assert [problem.partition("{")[0] for problem in found] == [family.name for family in families]


def test_a_wrong_duration() -> None:
    found = problems(RIGHT, SETTLED, {TOOK: [2001]})
    assert any("2.001, should be 2.000" in problem for problem in found)


def test_a_message_that_was_in_no_answer() -> None:
    assert any("never in an answer" in problem for problem in problems({}, NEVER_SHOWN))


def test_a_message_of_time_told_as_lost_may_be_missing_but_not_counted_twice() -> None:
    assert problems({}, replace(NEVER_SHOWN, lost=LOST)) == []
    assert problems(RIGHT, replace(SETTLED, lost=LOST), {TOOK: [2000]}) == []
    assert len(problems(RIGHT | {SENT: 2}, replace(SETTLED, lost=LOST), {TOOK: [2000]})) == 1


def test_a_message_may_only_stay_unresolved_where_no_poll_could_see_it_settle() -> None:
    assert any("not asked for again" in problem for problem in problems(UNRESOLVED, PENDING))
    assert problems(UNRESOLVED, replace(PENDING, polls=POLLS[:1])) == []
    late = plain_message("a", T, settles_after_ms=LOG_KEEPS_MS - 60_000, entity_id="shop")
    assert problems(UNRESOLVED, PENDING, message=late) == []


def test_a_message_that_turned_up_after_its_time_was_final_is_reported_as_missed_by_the_audit() -> None:
    late = plain_message("a", T, late_ms=HOUR_MS)
    around = TimeRange(T, T + 1000)
    evidence = replace(
        NEVER_SHOWN,
        finals=[Proof(around, T + HOUR_MS // 2, T + HOUR_MS // 2)],
        audits=[Proof(around, T + 2 * HOUR_MS, T + 2 * HOUR_MS)],
    )
    assert audited([late], evidence, {Series.of(catalog.AUDIT.name, result="missed"): 1}) == []
    (problem,) = audited([late], evidence, {})
    assert "reports 0 missed messages, should be 1 to 1" in problem


def test_time_told_as_lost_that_could_have_been_read() -> None:
    (problem,) = needless([MESSAGE], replace(SETTLED, lost=LOST))
    assert "could read it" in problem
    assert needless([plain_message(f"m{n}", T) for n in range(60)], replace(SETTLED, lost=LOST)) == []
    assert needless([MESSAGE], replace(SETTLED, lost=LOST, polls=[])) == []
    unknowing = [replace(poll, knows=False) for poll in POLLS]
    assert needless([MESSAGE], replace(SETTLED, lost=LOST, polls=unknowing)) == []
