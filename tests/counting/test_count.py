"""What records mean for the totals: each message once, where it was first seen, at the status it first settled in."""

from decimal import Decimal

import pytest

from infobip_exporter.counting.count import Counting
from infobip_exporter.counting.labels import LONGEST_LABEL, OTHER, Caps
from infobip_exporter.ledger.changes import Changes, Remembered
from infobip_exporter.metrics.snapshot import InFlight, Series
from infobip_exporter.model.record import Kind, Record

OPEN_FROM_MS = 1_000_000
CLOSED, OPEN = OPEN_FROM_MS - 60_000, OPEN_FROM_MS


def kind(status: str = "DELIVERED", **fields: object) -> Kind:
    plain = Kind(status, "OK", "shop", "orders", "EUR", Decimal("0.3"), 2)
    return plain._replace(**fields)


def record(
    message_id: str = "m", sent_ms: int = CLOSED, of: Kind | None = None, took_ms: int | None = 1500
) -> Record:
    done_ms = None if took_ms is None else sent_ms + took_ms
    return Record(message_id, sent_ms, done_ms, of or kind(), "sender")


def count(
    *records: Record, known: dict[str, Remembered] | None = None, caps: Caps | None = None, look: bool = False
) -> Changes:
    changes = Changes()
    counting = Counting(changes, known or {}, caps or Caps(1000), open_from_ms=OPEN_FROM_MS, hour=7)
    (counting.looks if look else counting.first_reads)(records)
    counting.finish()
    return changes


def total(changes: Changes, family: str) -> dict[tuple[str, ...], int | Decimal]:
    return {series.labels: value for series, value in changes.counters.items() if series.family == family}


PENDING = Remembered(CLOSED, "PENDING", "shop", "orders", settled=False)


def test_a_settled_message_adds_to_every_total_it_belongs_to() -> None:
    changes = count(record("a"), record("b"))
    assert total(changes, "infobip_messages_sent_total") == {("shop", "orders"): 2}
    assert total(changes, "infobip_messages_total") == {("DELIVERED", "OK", "shop", "orders"): 2}
    assert total(changes, "infobip_message_parts_total") == {("DELIVERED", "shop", "orders"): 4}
    assert total(changes, "infobip_cost_total") == {("EUR", "DELIVERED", "shop", "orders"): Decimal("0.6")}
    assert changes.volume == {CLOSED // 60_000: 2}
    assert changes.settled_by_hour == {(7, "DELIVERED"): 2}
    assert not changes.in_flight


def test_settled_messages_are_told_by_the_hour_they_were_sent_in() -> None:
    changes = Changes()
    known = {"flying": PENDING}
    counting = Counting(changes, known, Caps(1000), open_from_ms=OPEN_FROM_MS, hour=None)
    counting.first_reads([record("a", 0), record("b", 3_600_000), record("c", 7_199_999), record("flying")])
    counting.finish()
    assert changes.settled_by_hour == {(0, "DELIVERED"): 2, (1, "DELIVERED"): 2}


def test_a_message_in_flight_is_sent_and_remembered_and_nothing_else() -> None:
    changes = count(record("a", of=kind("PENDING")))
    assert {series.family for series in changes.counters} == {"infobip_messages_sent_total"}
    assert changes.in_flight == {InFlight("PENDING", "shop", "orders"): 1}
    assert changes.remember == {"a": PENDING}


@pytest.mark.parametrize("status", ["ACCEPTED", "PENDING"])
def test_accepted_and_pending_are_not_final(status: str) -> None:
    assert not total(count(record(of=kind(status))), "infobip_messages_total")


def test_a_group_nobody_has_heard_of_is_final() -> None:
    assert total(count(record(of=kind("WITHDRAWN"))), "infobip_messages_total") == {
        ("WITHDRAWN", "OK", "shop", "orders"): 1
    }


def test_a_row_that_stands_twice_counts_once() -> None:
    same = kind("PENDING")
    changes = count(record("a"), record("a"), record("b", of=same), record("b", of=same))
    assert total(changes, "infobip_messages_sent_total") == {("shop", "orders"): 2}
    assert changes.in_flight[InFlight("PENDING", "shop", "orders")] == 1


def test_a_row_that_stands_twice_with_different_statuses_ends_as_settled_once() -> None:
    changes = count(record("a", of=kind("PENDING")), record("a"), record("a"))
    assert total(changes, "infobip_messages_sent_total") == {("shop", "orders"): 1}
    assert total(changes, "infobip_messages_total") == {("DELIVERED", "OK", "shop", "orders"): 1}
    assert changes.in_flight[InFlight("PENDING", "shop", "orders")] == 0
    assert not changes.remember


def test_a_settled_message_is_remembered_only_where_it_will_be_read_again() -> None:
    changes = count(record("closed", CLOSED), record("open", OPEN))
    assert changes.remember == {"open": Remembered(OPEN, "DELIVERED", "shop", "orders", settled=True)}


def test_a_message_in_flight_settles_where_it_was_first_counted() -> None:
    changes = count(record("a", of=kind(entity_id="renamed")), known={"a": PENDING})
    assert total(changes, "infobip_messages_total") == {("DELIVERED", "OK", "shop", "orders"): 1}
    assert changes.in_flight == {InFlight("PENDING", "shop", "orders"): -1}
    assert changes.forget == {"a": PENDING}
    assert not total(changes, "infobip_messages_sent_total")


def test_a_message_in_flight_moves_between_the_statuses_that_are_not_final() -> None:
    changes = count(record("a", of=kind("ACCEPTED")), known={"a": PENDING})
    assert changes.in_flight == {
        InFlight("PENDING", "shop", "orders"): -1,
        InFlight("ACCEPTED", "shop", "orders"): 1,
    }
    assert changes.remember == {"a": PENDING._replace(general_status="ACCEPTED")}
    assert not changes.counters


def test_a_message_in_flight_that_is_as_it_was_changes_nothing() -> None:
    changes = count(record("a", of=kind("PENDING")), known={"a": PENDING})
    assert (changes.counters, changes.in_flight, changes.remember) == ({}, {}, {})


def test_the_price_at_settling_is_the_one_that_counts() -> None:
    changes = count(record("a", of=kind(cost=Decimal("0.00787679"))), known={"a": PENDING})
    assert list(total(changes, "infobip_cost_total").values()) == [Decimal("0.00787679")]


def test_costs_are_summed_without_rounding() -> None:
    tiny, large = kind(cost=Decimal("1E-40")), kind(cost=Decimal("1E+15"))
    changes = count(record("a", of=tiny), record("b", of=large))
    (cost,) = total(changes, "infobip_cost_total").values()
    assert str(cost) == "1000000000000000." + "0" * 39 + "1"


def test_a_message_without_a_price_has_no_cost() -> None:
    assert not total(count(record(of=kind(currency="", cost=Decimal(0)))), "infobip_cost_total")


def test_a_final_status_that_changes_is_told_once_and_the_first_stays() -> None:
    known = {"a": Remembered(OPEN, "DELIVERED", "shop", "orders", settled=True)}
    changes = count(*[record("a", OPEN, kind("UNDELIVERABLE"))] * 2, known=known)
    assert changes.counters == {
        Series("infobip_exporter_status_changes_after_final_total", ("DELIVERED", "UNDELIVERABLE")): 1
    }
    assert changes.remember["a"].general_status == "UNDELIVERABLE"


def test_a_look_counts_only_what_was_in_flight() -> None:
    changes = count(record("a"), record("stranger"), known={"a": PENDING}, look=True)
    assert not total(changes, "infobip_messages_sent_total")
    assert total(changes, "infobip_messages_total") == {("DELIVERED", "OK", "shop", "orders"): 1}


def test_what_settles_in_a_look_is_remembered_no_more_however_late_it_seems_to_be() -> None:
    flying = PENDING._replace(sent_ms=OPEN)
    changes = count(record("a", OPEN), known={"a": flying}, look=True)
    assert changes.forget == {"a": flying}
    assert not changes.remember


def durations(*took_ms: int | None) -> tuple[tuple[int, ...], Decimal] | None:
    changes = count(*[record(f"m{n}", took_ms=took) for n, took in enumerate(took_ms)])
    histogram = changes.histograms.get(Series("infobip_delivery_duration_seconds", ("DELIVERED",)))
    return None if histogram is None else (histogram.counts, histogram.sum_s)


def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass() -> None:
    found = durations(500, 501, 172_800_000, 172_800_001)
    assert found is not None
    counts, sum_s = found
    assert (counts[0], counts[1], counts[-2], counts[-1], sum(counts)) == (1, 1, 1, 1, 4)
    assert sum_s == Decimal("345601.002")


def test_a_message_done_before_it_was_sent_took_no_time() -> None:
    found = durations(-5)
    assert found == ((1, *[0] * 19), Decimal(0))


def test_a_message_without_doneat_has_no_duration() -> None:
    assert durations(None) is None


def test_values_beyond_the_cap_count_under_other_and_are_told() -> None:
    caps = Caps(1)
    changes = count(
        record("a"),
        record("b", of=kind(entity_id="second")),
        record("c", of=kind(entity_id="third")),
        caps=caps,
    )
    assert total(changes, "infobip_messages_sent_total") == {("shop", "orders"): 1, (OTHER, "orders"): 2}
    assert total(changes, "infobip_exporter_label_overflow_total") == {("entity_id",): 2}


@pytest.mark.parametrize(
    ("length", "label"), [(LONGEST_LABEL, "é" * LONGEST_LABEL), (LONGEST_LABEL + 1, OTHER)]
)
def test_a_value_too_long_for_a_label_counts_as_other(length: int, label: str) -> None:
    changes = count(record("a", of=kind(entity_id="é" * length)), caps=Caps(1000))
    assert total(changes, "infobip_messages_sent_total") == {(label, "orders"): 1}


def test_the_empty_value_needs_no_place() -> None:
    caps = Caps(0)
    changes = count(record("a", of=kind(entity_id="")), caps=caps)
    assert total(changes, "infobip_messages_sent_total") == {("", OTHER): 1}


def test_a_message_counted_under_other_settles_there_even_when_its_entity_has_a_place_by_then() -> None:
    known = {"a": Remembered(CLOSED, "PENDING", OTHER, "orders", settled=False)}
    changes = count(record("a"), known=known, caps=Caps(1000))
    assert total(changes, "infobip_messages_total") == {("DELIVERED", "OK", OTHER, "orders"): 1}


def test_a_value_keeps_the_place_it_had_before_a_restart() -> None:
    caps = Caps(1, [("entity_id", ""), ("entity_id", OTHER), ("entity_id", "old")])
    assert caps.admit("entity_id", "old") == "old"
    assert caps.admit("entity_id", "new") == OTHER


def test_the_empty_value_and_other_take_no_place_over_a_restart() -> None:
    caps = Caps(1, [("entity_id", ""), ("entity_id", OTHER)])
    assert caps.admit("entity_id", "first") == "first"
