"""How many values a label may show: real values up to a cap, `__other__` beyond it."""

from collections.abc import Iterable, Iterator, Mapping

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import DEFAULT, Choice, Family, labels_of
from infobip_exporter.model.labels import LABELS, OTHER
from infobip_exporter.model.record import DELIVERED, Kind
from infobip_exporter.model.series import Series

LONGEST_LABEL = 1024
"""Characters of a label's value. Infobip's own names have at most 255; every scrape carries every label again."""


class Caps:
    """Which values each label has been given so far. Once a value is shown it stays, over restarts too.

    `most` is how many values a label may have, `shown` the series that have been counted under already, `choice` the
    labels to count by.
    """

    def __init__(self, most: int, shown: Iterable[Series] = (), choice: Choice = DEFAULT) -> None:
        self.choice = choice
        self._most = most
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

    def labels_of(self, kind: Kind) -> dict[str, str]:
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


def overflowed(labels: Mapping[str, str], *, sent: bool) -> list[Series]:
    """The overflow counters of the labels that are known when a message is sent, or of those known when it settles."""
    return [
        Series.of(catalog.OVERFLOW.name, label=name)
        for name, value in labels.items()
        if value == OTHER and LABELS[name].sent is sent
    ]
