"""What a page means for the totals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from infobip_exporter.counting.caps import Caps
from infobip_exporter.counting.count import Counted, count
from infobip_exporter.counting.known import Known
from infobip_exporter.counting.rows import Rows
from infobip_exporter.counting.statuses import Statuses
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import DEFAULT, Choice, Family
from infobip_exporter.model.record import Record, Records
from infobip_exporter.model.time_range import TimeRange
from tests.feed.recording import BEGIN_MS, DELIVERED, PENDING, REJECTED, row

ALL = TimeRange(BEGIN_MS, BEGIN_MS + 3_600_000)


@dataclass
class Pages:
    """Pages of one hour, counted one after the other; each is whole unless `proven` says otherwise."""

    most_values: int = 100
    choice: Choice = DEFAULT
    known: Known = field(default_factory=Known)
    changes: Changes = field(default_factory=Changes)
    statuses: Statuses = field(default_factory=Statuses)

    def __post_init__(self) -> None:
        self.caps = Caps(self.most_values, choice=self.choice)

    def show(
        self, records: Sequence[Record], proven: TimeRange | None = ALL, *, readable: bool = True
    ) -> Counted:
        counted = count(
            Rows(Records.of(records)),
            self.known,
            self.changes,
            self.caps,
            self.statuses,
            is_open=lambda sent_ms: sent_ms >= 0,
            proven=proven,
            readable=lambda _: readable,
        )
        self.known = counted.known
        return counted

    def total(self, family: Family, **labels: str) -> int | Decimal:
        return sum(
            value
            for series, value in self.changes.counters.items()
            if series.family == family.name
            and all(series.label(name) == value for name, value in labels.items())
        )


def test_a_message_counts_once_in_whatever_pages_it_is_shown() -> None:
    pages = Pages()
    for records in ([row("a", 1, PENDING)], [row("a", 1), row("a", 1, PENDING)], [row("a", 1)]):
        pages.show(records)
    assert pages.total(catalog.SENT) == pages.total(catalog.MESSAGES) == 1
    assert sum(pages.changes.in_flight.values()) == 0


def test_one_id_with_two_sent_times_is_two_messages() -> None:
    pages = Pages()
    pages.show([row("a", 1, PENDING), row("a", 5, PENDING), row("a", 600, PENDING)])
    pages.show([row("a", 1), row("a", 5, PENDING), row("a", 600, PENDING)])
    assert (pages.total(catalog.SENT), pages.total(catalog.MESSAGES)) == (3, 1)
    assert sum(pages.changes.in_flight.values()) == 2


def test_a_sent_time_that_moves_by_seconds_is_the_same_message_where_the_page_proves_it() -> None:
    pages = Pages()
    pages.show([row("a", 1)])
    assert pages.show([row("a", 4)]).moved == [(BEGIN_MS + 1000, BEGIN_MS + 4000)]
    pages.show([row("a", 4)])
    assert pages.total(catalog.SENT) == 1


def test_what_may_have_moved_waits_until_both_places_are_read() -> None:
    pages = Pages()
    pages.show([row("a", 1)])
    beside = TimeRange(BEGIN_MS + 3000, BEGIN_MS + 9000)
    assert pages.show([row("a", 4)], beside).postponed == [TimeRange(BEGIN_MS + 1000, BEGIN_MS + 4001)]
    assert pages.total(catalog.SENT) == 1


def test_what_may_have_moved_is_the_same_message_where_the_api_fails_for_both_places() -> None:
    pages = Pages()
    pages.show([row("a", 1)])
    beside = TimeRange(BEGIN_MS + 3000, BEGIN_MS + 9000)
    assert pages.show([row("a", 4)], beside, readable=False).postponed == []
    assert pages.total(catalog.SENT) == 1


def test_a_status_that_changes_after_it_was_final_is_told_and_not_counted_again() -> None:
    pages = Pages()
    pages.show([row("a", 1)])
    pages.show([row("a", 1, REJECTED)])
    assert pages.total(catalog.MESSAGES) == 1
    assert pages.total(catalog.CHANGED_AFTER_FINAL, **{"from": "DELIVERED", "to": "REJECTED"}) == 1


def test_a_price_that_comes_later_is_added_once() -> None:
    pages = Pages()
    pages.show([row("a", 1, DELIVERED._replace(cost=None, currency=""))])
    assert pages.total(catalog.COST) == 0
    for kind in (DELIVERED, DELIVERED._replace(cost=None, currency=""), DELIVERED):
        pages.show([row("a", 1, kind)])
    assert pages.total(catalog.COST, currency="EUR") == Decimal("0.1")


def test_a_message_that_has_moved_may_have_changed_as_well() -> None:
    pages = Pages()
    pages.show([row("a", 1, DELIVERED._replace(cost=None, currency=""))])
    for _ in range(2):
        pages.show([row("a", 4, REJECTED)])
        assert pages.total(catalog.COST, currency="EUR") == Decimal("0.1")
    assert pages.total(catalog.SENT) == 1
    assert pages.total(catalog.CHANGED_AFTER_FINAL, **{"from": "DELIVERED", "to": "REJECTED"}) == 1


def test_a_price_without_a_currency_counts_under_the_empty_one() -> None:
    pages = Pages()
    pages.show([row("a", 1, DELIVERED._replace(currency="", cost=Decimal("0.15")))])
    assert pages.total(catalog.COST, currency="") == Decimal("0.15")


def test_durations_that_can_not_be_are_left_out_and_told() -> None:
    pages = Pages()
    year_9999_ms = 253_402_300_799_999
    early = row("a", 1)._replace(done_ms=BEGIN_MS)
    pages.show([early, row("b", 2)._replace(done_ms=year_9999_ms), row("c", 3)])
    [durations] = pages.changes.histograms.values()
    assert (sum(durations.counts), durations.sum_s) == (1, Decimal("0.5"))
    assert pages.total(catalog.DURATIONS_REJECTED) == 2
    assert pages.total(catalog.MESSAGES) == 3


def test_messages_in_flight_under_the_value_for_all_others_are_told() -> None:
    pages = Pages(most_values=1)
    pages.show([row("a", 1, PENDING), row("b", 2, PENDING._replace(general_status="ACCEPTED"))])
    assert pages.total(catalog.OVERFLOW, label="general_status") == 1
