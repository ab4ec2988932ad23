"""What one commit does to a feed's ledger."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from infobip_exporter.ledger.progress import Progress
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Histogram, Series, added, merged


@dataclass(slots=True)
class Changes:
    """Everything that must happen together. Counters and histograms are increments; the rest is absolute.

    `gone` are the `since_ms` of cells that end, with all that is kept of their messages; `cells` replace those that
    begin at the same moment. `settled` and `in_flight_messages` are what is kept of messages, by the `since_ms` of their
    cell; an empty value means that there are none any more.
    """

    counters: dict[Series, int | Decimal] = field(default_factory=dict)
    histograms: dict[Series, Histogram] = field(default_factory=dict)
    in_flight: Counter[Series] = field(default_factory=Counter)
    gone: set[int] = field(default_factory=set)
    cells: list[Cell] = field(default_factory=list)
    settled: dict[int, bytes] = field(default_factory=dict)
    in_flight_messages: dict[int, bytes] = field(default_factory=dict)
    settled_by_hour: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Settled messages by hour of sending (hours since the epoch) and general status."""
    rejected: dict[bytes, int] = field(default_factory=dict)
    """Fingerprints of rows that can't be counted, and when they were read, in milliseconds."""
    progress: Progress | None = None
    prune_before_ms: int | None = None
    """Sent time from which on hours and fingerprints are still of use."""

    def add(self, series: Series, amount: int | Decimal) -> None:
        self.counters[series] = added(self.counters.get(series, 0), amount)

    def observe(self, series: Series, observed: Histogram) -> None:
        before = self.histograms.get(series)
        self.histograms[series] = observed if before is None else merged(before, observed)

    def merge(self, other: "Changes") -> None:
        """Take over what `other` counts, observes and prunes."""
        self.prune_before_ms = self.prune_before_ms or other.prune_before_ms
        for series, amount in other.counters.items():
            self.add(series, amount)
        for series, observed in other.histograms.items():
            self.observe(series, observed)
