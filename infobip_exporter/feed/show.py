"""What a feed shows of itself and of its ledger."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics import catalog

CAPPED = ("general_status", "error_group", "entity_id", "application_id", "currency")
"""The labels whose values come from the API and are capped by metrics.max_label_values."""


def known_label_values(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """The (label, value) pairs that the ledger has counted under: they keep their place after a restart."""
    labels_of = {family.name: family.labels for family in catalog.FAMILIES}
    for family, values in (*ledger.counters, *ledger.histograms):
        yield from _capped(labels_of.get(family, ()), values)
    for in_flight in ledger.in_flight:
        yield from _capped(catalog.IN_FLIGHT.labels, in_flight)


def _capped(labels: tuple[str, ...], values: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((label, value) for label, value in zip(labels, values, strict=False) if label in CAPPED)


def by_hour(settled: Mapping[tuple[int, str], int]) -> dict[int, dict[str, int]]:
    """Settled messages by hour and general status, as the status page draws them."""
    hours: dict[int, dict[str, int]] = defaultdict(dict)
    for (hour, status), messages in settled.items():
        hours[hour][status] = messages
    return dict(hours)
