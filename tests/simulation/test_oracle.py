"""The oracle sees a counter that is wrong, and lets pass what is owned up to."""

from decimal import Decimal

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import Histogram, Series
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.reading.spans import SpanSet
from infobip_exporter.sandbox.message import Message, plain_message
from simulation.api import Witness
from simulation.oracle import Evidence, Poll, compare, needless

T = 1_790_000_000_000
LEAVES = T + LOG_KEEPS_MS
DELIVERED = plain_message("a", T, settles_after_ms=2000, entity_id="shop", parts=2)

Counters = dict[Series, int | Decimal]


def evidence(finals: dict[str, str], lost: SpanSet | None = None, *, shown: str = "ab") -> Evidence:
    witness = Witness(shown=set(shown), finals={name: {group: None} for name, group in finals.items()})
    every_minute = range(T, LEAVES, 60_000)
    polls = [Poll(at_ms, at_ms + 500, well=True, eager=False) for at_ms in every_minute]
    return Evidence(
        begin_ms=T,
        frontier_ms=LEAVES,
        lost=lost or SpanSet(),
        witness=witness,
        polls=polls,
        interval_ms=60_000,
    )


def counted(**wrong: int | Decimal) -> Counters:
    """The right counters for `DELIVERED`, apart from the families named."""
    right: Counters = {
        Series(catalog.SENT.name, ("shop", "")): 1,
        Series(catalog.MESSAGES.name, ("DELIVERED", "OK", "shop", "")): 1,
        Series(catalog.PARTS.name, ("DELIVERED", "shop", "")): 2,
        Series(catalog.COST.name, ("EUR", "DELIVERED", "shop", "")): Decimal("0.30"),
    }
    return {series: wrong.get(series.family, value) for series, value in right.items()}


def took(seconds: str) -> dict[Series, Histogram]:
    counts = [0] * (len(catalog.DELIVERY_DURATION.buckets) + 1)
    counts[2] = 1
    return {
        Series(catalog.DELIVERY_DURATION.name, ("DELIVERED",)): Histogram(tuple(counts), Decimal(seconds))
    }


def problems(
    counters: Counters,
    known: Evidence,
    messages: tuple[Message, ...] = (DELIVERED,),
    seconds: str = "2.000",
) -> list[str]:
    return compare(messages, (), known, counters, took(seconds) if seconds else {})


def test_right_counters_have_no_problems() -> None:
    assert problems(counted(), evidence({"a": "DELIVERED"})) == []


def test_each_wrong_counter_is_named_with_what_it_should_be() -> None:
    known = evidence({"a": "DELIVERED"})
    for family in (catalog.SENT, catalog.MESSAGES, catalog.PARTS):
        (problem,) = problems(counted(**{family.name: 7}), known)
        assert family.name in problem
        assert "is 7" in problem
    (problem,) = problems(counted(**{catalog.COST.name: Decimal("0.30000001")}), known)
    assert catalog.COST.name in problem


def test_a_wrong_duration_is_seen() -> None:
    (problem,) = problems(counted(), evidence({"a": "DELIVERED"}), seconds="2.001")
    assert "2.001" in problem


def test_a_series_nobody_sent_is_seen() -> None:
    counters = counted() | {Series(catalog.SENT.name, ("ghost", "")): 1}
    (problem,) = problems(counters, evidence({"a": "DELIVERED"}))
    assert "ghost" in problem


def test_a_message_the_exporter_never_asked_for_is_seen() -> None:
    found = problems({}, evidence({}, shown=""), seconds="")
    assert any("never in an answer" in problem for problem in found)


def test_a_message_in_time_told_as_lost_may_be_missing() -> None:
    lost = SpanSet([(T, T + 1)])
    assert problems({}, evidence({}, lost, shown=""), seconds="") == []
    assert problems(counted(), evidence({"a": "DELIVERED"}, lost)) == []


def test_a_message_in_time_told_as_lost_is_still_not_counted_twice() -> None:
    found = problems(counted(**{catalog.SENT.name: 2}), evidence({"a": "DELIVERED"}, SpanSet([(T, T + 1)])))
    assert len(found) == 1


def unresolved() -> Counters:
    return {
        Series(catalog.SENT.name, ("shop", "")): 1,
        Series(catalog.UNRESOLVED.name, ("PENDING", "shop", "")): 1,
    }


def test_a_message_that_settled_long_before_it_left_may_not_be_unresolved() -> None:
    found = problems(unresolved(), evidence({}, shown="a"), seconds="")
    assert any("not looked at again" in problem for problem in found)


def test_a_message_that_settled_after_the_last_look_may_be_unresolved() -> None:
    late = plain_message("a", T, settles_after_ms=LOG_KEEPS_MS - 60_000, entity_id="shop")
    assert problems(unresolved(), evidence({}, shown="a"), (late,), seconds="") == []


def test_a_message_may_be_unresolved_where_no_poll_went_well_before_it_left() -> None:
    blind = evidence({}, shown="a")
    blind.polls = [poll for poll in blind.polls if poll.began_ms < T + 1000]
    assert problems(unresolved(), blind, seconds="") == []


def test_a_bad_row_counts_once_under_its_reason() -> None:
    bad = plain_message("b", T, defect="no_status")
    right: Counters = {Series(catalog.REJECTED.name, ("no_status",)): 1}
    assert problems(right, evidence({}), (bad,), seconds="") == []
    assert problems({}, evidence({}), (bad,), seconds="") != []


def test_below_the_cap_nothing_counts_as_other() -> None:
    counters = counted() | {Series(catalog.OVERFLOW.name, ("entity_id",)): 1}
    (problem,) = problems(counters, evidence({"a": "DELIVERED"}))
    assert "below the cap" in problem


def test_above_the_cap_the_sums_are_compared() -> None:
    other = plain_message("b", T, settles_after_ms=2000, entity_id="bank", parts=1)
    known = evidence({"a": "DELIVERED", "b": "DELIVERED"})
    known.label_cap = 1
    counters: Counters = {
        Series(catalog.SENT.name, ("shop", "")): 1,
        Series(catalog.SENT.name, ("__other__", "")): 1,
        Series(catalog.MESSAGES.name, ("DELIVERED", "OK", "shop", "")): 2,
        Series(catalog.PARTS.name, ("DELIVERED", "shop", "")): 3,
        Series(catalog.COST.name, ("EUR", "DELIVERED", "shop", "")): Decimal("0.45"),
    }
    (histogram,) = took("4.000").values()
    twice = {
        Series(catalog.DELIVERY_DURATION.name, ("DELIVERED",)): Histogram(
            tuple(2 * count for count in histogram.counts), histogram.sum_s
        )
    }
    assert compare((DELIVERED, other), (), known, counters, twice) == []
    del counters[Series(catalog.SENT.name, ("__other__", ""))]
    assert len(compare((DELIVERED, other), (), known, counters, twice)) == 1


def test_time_told_as_lost_that_could_have_been_read() -> None:
    known = evidence({}, SpanSet([(T, T + 1)]))
    (problem,) = needless([DELIVERED], known, 100)
    assert "could read it" in problem
    crowd = [plain_message(f"m{n}", T) for n in range(60)]
    assert needless(crowd, known, 100) == []
    known.polls = []
    assert needless([DELIVERED], known, 100) == []
