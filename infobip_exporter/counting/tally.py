"""The series that messages count in, by their kind."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.known import InFlight, Labels
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Choice, Family, labels_of, series_of
from infobip_exporter.model.labels import LABELS, OTHER
from infobip_exporter.model.record import DELIVERED, Kind
from infobip_exporter.model.series import EXACT, Series


@dataclass(frozen=True, slots=True)
class CountedIn:
    """The series of a kind. Those `of_sent` count a message when it is seen, those `of_settled` when it settles.

    `in_flight` is what is kept of a message of this kind that has not settled, `shown` are all the series that a message
    of this kind makes.
    """

    general_status: str
    in_flight: InFlight
    in_flight_series: Series
    of_sent: tuple[Series, ...]
    of_settled: tuple[Series, ...]
    parts: Series
    cost: Series
    durations: Series
    shown: frozenset[Series]


def counted_in(
    kind: Kind, labels: Mapping[str, str], sent_labels: Labels | None, choice: Choice
) -> CountedIn:
    """The series of messages of `kind`. `labels` has a value for each label of the table.

    `sent_labels` are those that the messages were first counted under, None for new ones. They settle under these,
    whatever is chosen now.
    """
    if sent_labels is None:
        sent_labels = tuple((name, labels[name]) for name in LABELS if name in choice.sent and labels[name])
    counted = {name: value for name, value in labels.items() if not LABELS[name].sent} | dict(sent_labels)

    def series(family: Family) -> Series:
        names = {*labels_of(family, choice)}
        if family.chosen in ("sent", "settled"):
            names |= {name for name, _ in sent_labels}
        return series_of(family, {name: value for name, value in counted.items() if name in names})

    in_flight = InFlight(labels["general_status"], sent_labels)
    durations = {name: {**labels, **counted}[name] for name in labels_of(catalog.DELIVERY_DURATION, choice)}
    only_durations = {name: value for name, value in durations.items() if name not in counted}
    sent, parts, cost = (series(family) for family in (catalog.SENT, catalog.PARTS, catalog.COST))
    settled = [series(catalog.MESSAGES)]
    if kind.general_status != DELIVERED:
        settled.append(series(catalog.FAILURES))
    took = series_of(catalog.DELIVERY_DURATION, durations)
    return CountedIn(
        labels["general_status"],
        in_flight,
        in_flight_series(in_flight),
        (sent, *_overflowed(counted, sent=True)),
        (*settled, *_overflowed(counted, sent=False), *_overflowed(only_durations, sent=True)),
        parts,
        cost,
        took,
        frozenset([sent, *settled, parts, cost, took] if kind.final else [sent, in_flight_series(in_flight)]),
    )


def _overflowed(labels: Mapping[str, str], *, sent: bool) -> list[Series]:
    """The overflow counters of the labels that are known when a message is sent, or of those known when it settles."""
    return [
        Series.of(catalog.OVERFLOW.name, label=name)
        for name, value in labels.items()
        if value == OTHER and LABELS[name].sent is sent
    ]


class Tally:
    """How many messages of one kind there are. `numbers` are those of the records of the settled in the page.

    Holds the kind itself, so that its id() stays its own.
    """

    __slots__ = ("kind", "new", "numbers", "series", "settled")

    def __init__(self, kind: Kind, series: CountedIn) -> None:
        self.kind = kind
        self.series = series
        self.new = 0
        self.settled = 0
        self.numbers: list[NDArray[np.intp]] = []

    def settle(self, numbers: NDArray[np.intp]) -> None:
        self.settled += len(numbers)
        self.numbers.append(numbers)

    def add_to(self, changes: Changes) -> None:
        if self.new:
            for series in self.series.of_sent:
                changes.add(series, self.new)
        if self.settled:
            for series in self.series.of_settled:
                changes.add(series, self.settled)
            changes.add(self.series.parts, self.settled * self.kind.parts)
            self.add_cost(changes, self.settled)

    def add_cost(self, changes: Changes, messages: int) -> None:
        cost = self.kind.cost
        if cost is not None and (cost or self.kind.currency):
            changes.add(self.series.cost, EXACT.multiply(cost, messages))


def in_flight_series(message: InFlight) -> Series:
    return series_of(catalog.IN_FLIGHT, {"general_status": message.general_status, **dict(message.labels)})


def unresolved_series(message: InFlight) -> Series:
    return Series(catalog.UNRESOLVED.name, in_flight_series(message).labels)
