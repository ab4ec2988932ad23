"""How many values a label may show, and how many series a feed: real values up to a cap, `__other__` beyond it."""

from collections.abc import Iterable, Iterator, Mapping

from infobip_exporter.counting.known import Labels
from infobip_exporter.counting.tally import CountedIn, counted_in
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Family
from infobip_exporter.model.labels import CAPPED, LABELS, OTHER, SENT_LABELS
from infobip_exporter.model.record import DELIVERED, GENERAL_STATUSES, Kind
from infobip_exporter.model.series import Series

_OF_A_SENDER = 6
"""Series of an entity and application whose messages have all one outcome: sent, in flight, unresolved, settled, parts, cost."""

MOST_KEPT = 4096
"""Kinds whose series are kept: a page has some dozens of them."""


class Caps:
    """Which values each label has been given so far. Once a value is shown it stays, over restarts too.

    `most` is how many values a label may have, `most_series` how many series there may be, `shown` those that have been
    counted under already.
    """

    def __init__(self, most: int, shown: Iterable[Series] = (), most_series: int = 1_000_000) -> None:
        self._most = most
        self._most_series = most_series
        shown = list(shown)
        self._shown = set(shown)
        self._senders = {_sender(dict(series.labels)) for series in shown}
        self._kept: dict[tuple[Kind, Labels | None], CountedIn] = {}
        self._taken: dict[str, set[str]] = {name: set() for name in CAPPED}
        for series in shown:
            for label, value in series.labels:
                if label in CAPPED and value not in ("", OTHER):
                    self._taken[label].add(value)

    def admit(self, label: str, value: str) -> str:
        """`value`, or `__other__` where the label has no place left."""
        if label not in CAPPED:
            return value
        taken = self._taken[label]
        if value in taken or value in ("", OTHER):
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
            labels = self._labels_of(kind, sent_labels)
            kept = self._kept[kind, sent_labels] = counted_in(kind, labels)
        return kept

    def _labels_of(self, kind: Kind, first_seen: Labels | None) -> dict[str, str]:
        """The value of every label of the table for a record of this kind; "" for those that it is not counted under.

        `first_seen` are the labels of a message that was counted as sent before. What no series shows must not take
        the place of a value that one does.
        """
        families = list(_families(kind))
        shown = {name for family in families for name in family.labels}
        labels = {
            label.name: self.admit(label.name, label.read(kind)) if label.name in shown else ""
            for label in LABELS
        } | dict(first_seen or ())
        series = _series(families, labels)
        new = series - self._shown
        senders = len(self._senders) + (_sender(labels) not in self._senders)
        if not new or max(len(self._shown) + len(new), _OF_A_SENDER * senders) <= self._most_series:
            self._shown |= new
            self._senders.add(_sender(labels))
            return labels
        # Only the group of the status is kept, where the API documents it; and what has been counted as sent.
        kept = {"general_status"} if first_seen is None and kind.general_status in GENERAL_STATUSES else set()
        other = {
            name: OTHER if value and name in CAPPED and name not in kept else value
            for name, value in labels.items()
        } | dict(first_seen or ())
        self._shown |= _series(families, other)
        return other


def _families(kind: Kind) -> Iterator[Family]:
    """The families that a message of this kind is counted in."""
    yield catalog.SENT
    if not kind.final:
        yield catalog.IN_FLIGHT
        return
    yield from (catalog.MESSAGES, catalog.PARTS, catalog.COST, catalog.DELIVERY_DURATION)
    if kind.general_status != DELIVERED:
        yield catalog.FAILURES


def _series(families: Iterable[Family], labels: dict[str, str]) -> set[Series]:
    return {Series(family.name, tuple((name, labels[name]) for name in family.labels)) for family in families}


def _sender(labels: Mapping[str, str]) -> Labels:
    return tuple((label.name, labels.get(label.name, "")) for label in SENT_LABELS)
