"""The labels that are chosen, and what becomes of them."""

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Choice
from infobip_exporter.model.labels import OTHER
from infobip_exporter.model.series import Series
from tests.counting.test_count import Pages
from tests.feed.recording import DELIVERED, PENDING, REJECTED, row

SPRING = (("campaign", "spring"), ("sender", "acme"))


def series(pages: Pages, family: catalog.Family) -> list[dict[str, str]]:
    return [dict(each.labels) for each in pages.changes.counters if each.family == family.name]


def test_messages_are_counted_by_the_labels_that_are_chosen() -> None:
    pages = Pages(choice=Choice(("campaign", "entity_id", "status")))
    pages.show(
        [row("a", 1, REJECTED._replace(on_request=SPRING)), row("b", 2, PENDING._replace(on_request=SPRING))]
    )
    assert series(pages, catalog.SENT) == [{"entity_id": "shop", "campaign": "spring"}]
    assert series(pages, catalog.MESSAGES) == [
        {
            "general_status": "REJECTED",
            "error_group": "OK",
            "status": "REJECTED_NETWORK",
            "entity_id": "shop",
            "campaign": "spring",
        }
    ]
    [in_flight] = pages.changes.in_flight
    assert dict(in_flight.labels) == {"general_status": "PENDING", "entity_id": "shop", "campaign": "spring"}


def test_no_labels_at_all() -> None:
    pages = Pages(choice=Choice(()))
    pages.show([row("a", 1, REJECTED)])
    assert series(pages, catalog.SENT) == [{}]
    [failure] = series(pages, catalog.FAILURES)
    assert failure == {"general_status": "REJECTED", "status": "REJECTED_NETWORK", "permanent": "false"}


def test_reasons_of_failures_are_by_entity_alone() -> None:
    pages = Pages(choice=Choice(("campaign", "entity_id")))
    pages.show([row("a", 1, REJECTED._replace(on_request=SPRING))])
    [failure] = series(pages, catalog.FAILURES)
    assert set(failure) == {"general_status", "status", "permanent", "entity_id"}


def test_durations_have_labels_of_their_own() -> None:
    pages = Pages(choice=Choice((), ("sender", "status")))
    pages.show([row("a", 1, PENDING._replace(on_request=SPRING))])
    pages.show([row("a", 1, DELIVERED._replace(on_request=SPRING))])
    [durations] = pages.changes.histograms
    assert dict(durations.labels) == {
        "general_status": "DELIVERED",
        "status": "DELIVERED_TO_HANDSET",
        "sender": "acme",
    }


def test_a_label_that_is_empty_is_none_so_that_no_series_is_shown_twice() -> None:
    without = REJECTED._replace(application_id="")
    pages = [Pages(choice=Choice(labels)) for labels in (("entity_id", "application_id"), ("entity_id",))]
    for each in pages:
        each.show([row("a", 1, without)])
    assert pages[0].changes.counters == pages[1].changes.counters


def test_the_order_of_the_choice_does_not_matter() -> None:
    pages = [Pages(choice=Choice(labels)) for labels in (("entity_id", "sender"), ("sender", "entity_id"))]
    for each in pages:
        each.show([row("a", 1, REJECTED._replace(on_request=SPRING))])
    assert pages[0].changes.counters == pages[1].changes.counters


def test_values_of_a_chosen_label_are_capped_and_told_once_a_message() -> None:
    pages = Pages(1, choice=Choice(("campaign",), ("sender",)))
    for number in range(3):
        values = (("campaign", f"c{number}"), ("sender", f"s{number}"))
        pages.show([row(f"m{number}", number, PENDING._replace(on_request=values))])
        pages.show([row(f"m{number}", number, DELIVERED._replace(on_request=values))])
    assert pages.total(catalog.SENT, campaign=OTHER) == pages.total(catalog.MESSAGES, campaign=OTHER) == 2
    for label in ("campaign", "sender"):
        assert pages.changes.counters[Series.of(catalog.OVERFLOW.name, label=label)] == 2
