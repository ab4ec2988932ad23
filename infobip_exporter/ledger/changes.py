"""What one commit does to a feed's ledger."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import NamedTuple

from infobip_exporter.ledger.progress import Progress
from infobip_exporter.metrics.snapshot import Histogram, InFlight, Series
from infobip_exporter.reading.spans import Span

EXACT = Context(prec=120)
"""Sums of money are never rounded: no sum of prices has this many digits."""


class Remembered(NamedTuple):
    """A message the ledger knows by its id, with the labels it was counted under when first seen."""

    sent_ms: int
    general_status: str
    entity_id: str
    application_id: str
    settled: bool


@dataclass(slots=True)
class Changes:
    """Everything that must happen together. Counters and histograms are increments; the rest is absolute."""

    counters: dict[Series, int | Decimal] = field(default_factory=dict)
    histograms: dict[Series, Histogram] = field(default_factory=dict)
    in_flight: Counter[InFlight] = field(default_factory=Counter)
    in_flight_by_minute: Counter[int] = field(default_factory=Counter)
    """The same by minute of sending (minutes since the epoch)."""
    remember: dict[str, Remembered] = field(default_factory=dict)
    """Messages to keep by id, in flight or settled in an open span; replaces what was remembered."""
    forget: dict[str, Remembered] = field(default_factory=dict)
    """Messages in flight that settled or left the log, as they were remembered."""
    forget_settled: list[Span] = field(default_factory=list)
    """Spans that are closed: their settled messages need not be known any more."""
    volume: Counter[int] = field(default_factory=Counter)
    """New messages by minute of sending (minutes since the epoch)."""
    settled_by_hour: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Settled messages by hour of sending (hours since the epoch) and general status."""
    rejected: dict[bytes, int] = field(default_factory=dict)
    """Fingerprints of rows that can't be counted, and when they were read, in milliseconds."""
    progress: Progress | None = None
    prune_before_ms: int | None = None
    """Sent time from which on volumes, hours and fingerprints are still of use."""

    def add(self, series: Series, amount: int | Decimal) -> None:
        self.counters[series] = add(self.counters.get(series, 0), amount)

    def observe(self, series: Series, observed: Histogram) -> None:
        before = self.histograms.get(series)
        self.histograms[series] = observed if before is None else merge(before, observed)

    def merge(self, other: "Changes") -> None:
        """Take over what `other` counts, observes and prunes."""
        self.prune_before_ms = self.prune_before_ms or other.prune_before_ms
        for series, amount in other.counters.items():
            self.add(series, amount)
        for series, observed in other.histograms.items():
            self.observe(series, observed)


def add(a: int | Decimal, b: int | Decimal) -> int | Decimal:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return EXACT.add(Decimal(a), Decimal(b))


def merge(a: Histogram, b: Histogram) -> Histogram:
    return Histogram(
        tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)), EXACT.add(a.sum_s, b.sum_s)
    )
