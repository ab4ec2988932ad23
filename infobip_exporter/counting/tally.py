"""The series that messages count in, by their kind."""

from dataclasses import dataclass

from infobip_exporter.counting.known import InFlight
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Family
from infobip_exporter.model.labels import BY_NAME, OTHER, SENT_LABELS
from infobip_exporter.model.record import DELIVERED, Kind
from infobip_exporter.model.series import EXACT, Series


@dataclass(frozen=True, slots=True)
class CountedIn:
    """The series of a kind. Those `of_sent` count a message when it is seen, those `of_settled` when it settles.

    `in_flight` is what is kept of a message of this kind that has not settled.
    """

    general_status: str
    in_flight: InFlight
    in_flight_series: Series
    of_sent: tuple[Series, ...]
    of_settled: tuple[Series, ...]
    parts: Series
    cost: Series


def counted_in(kind: Kind, labels: dict[str, str]) -> CountedIn:
    """The series of messages of `kind` under `labels`, which has a value for each label of the table."""

    def series(family: Family) -> Series:
        return Series(family.name, tuple((name, labels[name]) for name in family.labels))

    def overflowed(*, sent: bool) -> list[Series]:
        return [
            Series.of(catalog.OVERFLOW.name, label=name)
            for name, value in labels.items()
            if value == OTHER and BY_NAME[name].sent is sent
        ]

    in_flight = InFlight(
        labels["general_status"], tuple((label.name, labels[label.name]) for label in SENT_LABELS)
    )
    failures = [] if kind.general_status == DELIVERED else [series(catalog.FAILURES)]
    return CountedIn(
        labels["general_status"],
        in_flight,
        in_flight_series(in_flight),
        (series(catalog.SENT), *overflowed(sent=True)),
        (series(catalog.MESSAGES), *failures, *overflowed(sent=False)),
        series(catalog.PARTS),
        series(catalog.COST),
    )


class Tally:
    """How many messages of one kind there are. `settled` are the numbers of their records in the page.

    Holds the kind itself, so that its id() stays its own.
    """

    __slots__ = ("kind", "new", "series", "settled")

    def __init__(self, kind: Kind, series: CountedIn) -> None:
        self.kind = kind
        self.series = series
        self.new = 0
        self.settled: list[int] = []

    def add_to(self, changes: Changes) -> None:
        if self.new:
            for series in self.series.of_sent:
                changes.add(series, self.new)
        settled = len(self.settled)
        if settled:
            for series in self.series.of_settled:
                changes.add(series, settled)
            changes.add(self.series.parts, settled * self.kind.parts)
            self.add_cost(changes, settled)

    def add_cost(self, changes: Changes, messages: int) -> None:
        cost = self.kind.cost
        if cost is not None and (cost or self.kind.currency):
            changes.add(self.series.cost, EXACT.multiply(cost, messages))


def in_flight_series(message: InFlight) -> Series:
    labels = {"general_status": message.general_status, **dict(message.labels)}
    return Series(catalog.IN_FLIGHT.name, tuple((name, labels[name]) for name in catalog.IN_FLIGHT.labels))


def unresolved_series(message: InFlight) -> Series:
    return Series(catalog.UNRESOLVED.name, in_flight_series(message).labels)
