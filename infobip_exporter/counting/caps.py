"""How many values a label may show, and how many series a feed: real values up to a cap, `__other__` beyond it."""

from collections.abc import Iterable, Iterator

from infobip_exporter.counting.known import Labels
from infobip_exporter.counting.tally import CountedIn, counted_in
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import DEFAULT, Choice, Family, labels_of
from infobip_exporter.model.labels import LABELS, OTHER
from infobip_exporter.model.record import DELIVERED, GENERAL_STATUSES, Kind
from infobip_exporter.model.series import Series

_OF_A_SENDER = 6
"""Series of an entity and application whose messages have all one outcome: sent, in flight, unresolved, settled, parts, cost."""

MOST_KEPT = 4096
"""Kinds whose series are kept: a page has some dozens of them."""


class Caps:
    """Which values each label has been given so far. Once a value is shown it stays, over restarts too.

    `most` is how many values a label may have, `most_series` how many series there may be, `shown` those that have been
    counted under already, `choice` the labels to count by.
    """

    def __init__(
        self,
        most: int,
        shown: Iterable[Series] = (),
        most_series: int = 1_000_000,
        choice: Choice = DEFAULT,
    ) -> None:
        self.choice = choice
        self._most = most
        self._most_series = most_series
        self._shown = set(shown)
        self._senders = {series.labels for series in self._shown if series.family == catalog.SENT.name}
        self._kept: dict[tuple[Kind, Labels | None], CountedIn] = {}
        self._taken: dict[str, set[str]] = {name: set() for name, label in LABELS.items() if label.capped}
        for series in self._shown:
            for label, value in series.labels:
                if label in self._taken and value not in ("", OTHER):
                    self._taken[label].add(value)

    def admit(self, label: str, value: str) -> str:
        """`value`, or `__other__` where the label has no place left."""
        taken = self._taken.get(label)
        if taken is None or value in taken or value in ("", OTHER):
            return value
        if len(taken) >= self._most:
            return OTHER
        taken.add(value)
        return value

    def counted_in(self, kind: Kind, sent_labels: Labels | None = None) -> CountedIn:
        """The series of messages of this kind; with `sent_labels`, of those that were first seen with these.

        The answer stays the same, for a value that is shown stays and so does one that is not: it is kept.
        """
        kept = self._kept.get((kind, sent_labels))
        if kept is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            kept = self._kept[kind, sent_labels] = self._counted_in(kind, sent_labels)
        return kept

    def _counted_in(self, kind: Kind, first_seen: Labels | None) -> CountedIn:
        """`first_seen` are the labels of a message that was counted as sent before."""
        labels = self._labels_of(kind)
        counted = counted_in(kind, labels, first_seen, self.choice)
        new = counted.shown - self._shown
        senders = self._senders | {counted.in_flight.labels}
        if not new or max(len(self._shown) + len(new), _OF_A_SENDER * len(senders)) <= self._most_series:
            self._senders = senders
        else:
            # Only the group of the status is kept, where the API documents it; and what has been counted as sent.
            is_kept = first_seen is None and kind.general_status in GENERAL_STATUSES
            kept = {"general_status"} if is_kept else set()
            other = {
                name: OTHER if value and LABELS[name].capped and name not in kept else value
                for name, value in labels.items()
            }
            counted = counted_in(kind, other, first_seen, self.choice)
        self._shown |= counted.shown
        return counted

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
