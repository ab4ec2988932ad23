"""Series and their values, as totals keep them and as a scrape shows them."""

from decimal import Context, Decimal
from typing import NamedTuple

EXACT = Context(prec=120)
"""Sums of money are never rounded: no sum of prices has this many digits."""


class Series(NamedTuple):
    """A metric family's name and the labels by name, without account and channel; the catalogue gives their order."""

    family: str
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, family: str, **labels: str) -> "Series":
        """With these labels; an empty one is none, as for Prometheus."""
        return cls(family, tuple((name, value) for name, value in labels.items() if value))

    def label(self, name: str) -> str:
        """The value of a label; the empty string where the series does not have it."""
        return next((value for label, value in self.labels if label == name), "")


class Histogram(NamedTuple):
    """Observations in each bucket, not cumulated, the last one for +Inf; and their sum in seconds."""

    counts: tuple[int, ...]
    sum_s: Decimal


Value = int | Decimal | Histogram
"""Of a counter or a gauge of messages, of a counter of money or seconds, of a histogram."""


def added(a: int | Decimal, b: int | Decimal) -> int | Decimal:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return EXACT.add(Decimal(a), Decimal(b))


def merged(a: Histogram, b: Histogram) -> Histogram:
    counts = tuple(x + y for x, y in zip(a.counts, b.counts, strict=True))
    return Histogram(counts, EXACT.add(a.sum_s, b.sum_s))
