"""How many values a label may show: real values up to a cap, `__other__` beyond it."""

from collections.abc import Iterable, Iterator

from infobip_exporter.counting.known import Labels
from infobip_exporter.counting.tally import CountedIn, counted_in
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import DEFAULT, Choice, Family, labels_of
from infobip_exporter.model.labels import LABELS, OTHER
from infobip_exporter.model.record import DELIVERED, Kind
from infobip_exporter.model.series import Series

LONGEST_LABEL = 1024
"""Characters of a label's value. Infobip's own names have at most 255; every scrape carries every label again."""

MOST_KEPT = 4096
"""Kinds whose series are kept: a page has some dozens of them."""


class Caps:
    """Which values each label has been given so far. Once a value is shown it stays, over restarts too.

    `most` is how many values a label may have, `shown` the series that have been counted under already, `choice` the
    labels to count by.
    """

    def __init__(self, most: int, shown: Iterable[Series] = (), choice: Choice = DEFAULT) -> None:
        self.choice = choice
        self._most = most
        self._series: dict[tuple[Kind, Labels | None], CountedIn] = {}
        self._taken: dict[str, set[str]] = {name: set() for name, label in LABELS.items() if label.capped}
        for series in shown:
            for label, value in series.labels:
                if label in self._taken and value not in ("", OTHER):
                    self._taken[label].add(value)

    def admit(self, label: str, value: str) -> str:
        """`value`, or `__other__` where the label has no place left or the value is too long for every scrape."""
        taken = self._taken.get(label)
        if taken is None or value in taken or value in ("", OTHER):
            return value
        if len(taken) >= self._most or len(value) > LONGEST_LABEL:
            return OTHER
        taken.add(value)
        return value

    def counted_in(self, kind: Kind, sent_labels: Labels | None = None) -> CountedIn:
        """The series of messages of this kind; with `sent_labels`, of those that were first seen with these.

        The answer stays the same, for a value that is shown stays and so does one that is not: it is kept.
        """
        kept = self._series.get((kind, sent_labels))
        if kept is None:
            if len(self._series) >= MOST_KEPT:
                self._series.clear()
            kept = counted_in(kind, self._labels_of(kind), sent_labels, self.choice)
            self._series[kind, sent_labels] = kept
        return kept

    def _labels_of(self, kind: Kind) -> dict[str, str]:
        """The value of every label of the table for a record of this kind; "" for those that it is not counted under.

        What no series shows must not take the place of a value that one does.
        """
        shown = {name for family in _families(kind) for name in labels_of(family, self.choice)}
        return {
            name: self.admit(name, label.of(kind)) if name in shown else "" for name, label in LABELS.items()
        }


def _families(kind: Kind) -> Iterator[Family]:
    """The families that a message of this kind is counted in."""
    yield catalog.SENT
    if not kind.final:
        yield catalog.IN_FLIGHT
        return
    yield from (catalog.MESSAGES, catalog.PARTS, catalog.COST, catalog.DELIVERY_DURATION)
    if kind.general_status != DELIVERED:
        yield catalog.FAILURES
