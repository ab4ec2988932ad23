"""How many series a feed shows, whatever the log names."""

from collections import Counter

from infobip_exporter.counting.caps import Caps
from infobip_exporter.metrics import catalog
from infobip_exporter.model.labels import OTHER
from infobip_exporter.model.record import Kind
from tests.counting.test_count import Pages
from tests.feed.recording import DELIVERED, PENDING, REJECTED, row

MOST = 600


def pages_of(most_series: int = MOST) -> Pages:
    pages = Pages()
    pages.caps = Caps(100_000, most_series=most_series)
    return pages


def of_entity(kind: Kind, number: int) -> Kind:
    return kind._replace(entity_id=f"entity {number}")


def series_of(pages: Pages) -> int:
    return len(pages.changes.counters) + len(pages.changes.in_flight)


def test_new_entities_in_each_page_do_not_make_more_series_than_allowed() -> None:
    pages = pages_of()
    for page in range(5):
        sent = [(f"{page} {n}", 100 * page + n, of_entity(PENDING, 100 * page + n)) for n in range(100)]
        pages.show([row(*each) for each in sent])
        outcomes = (DELIVERED, REJECTED, DELIVERED._replace(currency="XXX"))
        pages.show([row(*each[:2], of_entity(outcomes[each[1] % 3], each[1])) for each in sent])
    assert series_of(pages) <= 1.1 * MOST
    assert pages.total(catalog.SENT) == pages.total(catalog.MESSAGES) == 500
    assert pages.total(catalog.OVERFLOW, label="entity_id") > 300


def test_for_each_entity_what_was_sent_is_what_settled_also_beyond_the_cap() -> None:
    pages = pages_of(60)
    sent = [(str(n), n, of_entity(PENDING, n % 40)) for n in range(200)]
    pages.show([row(*each) for each in sent])
    pages.show([row(*each[:2], of_entity((DELIVERED, REJECTED)[each[1] % 2], each[1] % 40)) for each in sent])
    by_entity = {
        family: Counter(
            {
                entity: pages.total(family, entity_id=entity)
                for entity in {series.label("entity_id") for series in pages.changes.counters}
            }
        )
        for family in (catalog.SENT, catalog.MESSAGES)
    }
    assert by_entity[catalog.SENT] == by_entity[catalog.MESSAGES]
    assert by_entity[catalog.SENT][OTHER] > 0


def test_a_status_that_the_api_documents_keeps_its_name_beyond_the_cap() -> None:
    pages = pages_of(12)
    pages.show([row(str(n), n, of_entity((DELIVERED, REJECTED)[n % 2], n)) for n in range(100)])
    pages.show([row(f"x{n}", 200 + n, DELIVERED._replace(general_status=f"NEW_{n}")) for n in range(100)])
    assert pages.total(catalog.MESSAGES, general_status="REJECTED") == 50
    assert pages.total(catalog.MESSAGES, general_status=OTHER) > 90


def test_series_that_were_shown_before_a_restart_stay() -> None:
    before = pages_of()
    before.show([row(str(n), n, of_entity(DELIVERED, n)) for n in range(100)])
    after = pages_of()
    after.caps = Caps(100_000, [*before.changes.counters], MOST)
    after.show([row(str(n), n, of_entity(DELIVERED, n)) for n in range(105)])
    shown = {series for series in after.changes.counters if series.family == catalog.SENT.name}
    assert shown >= {series for series in before.changes.counters if series.family == catalog.SENT.name}
    assert after.total(catalog.SENT, entity_id=OTHER) == 5
