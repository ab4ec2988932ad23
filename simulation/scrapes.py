"""What a scraper sees of a feed, at any moment and through all lives of the process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from types import SimpleNamespace
from typing import cast

from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.lines import label_set, number
from infobip_exporter.metrics.process import Process
from infobip_exporter.metrics.render import Feed, Renderer
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from simulation.time import WorldTime
from simulation.violation import Violated

_NO_PROCESS = cast("Process", SimpleNamespace(text="", open_metrics="# EOF\n"))
_TYPES = {family.name: family.type for family in catalog.FAMILIES}
_SUFFIXES = ("_bucket", "_sum", "_count")


@dataclass(slots=True)
class Scraper:
    """Scrapes one feed now and then, and remembers for good what it was shown."""

    time: WorldTime
    hold_s: float
    shown: dict[str, Decimal] = field(default_factory=dict)
    """The last value of each counter and each part of a histogram, by its name and labels as they are written."""
    scrapes: int = 0
    whole: int = 0
    """Scrapes in which nothing was held at zero."""
    _renderer: Renderer = field(init=False)
    _zero_start: ZeroStart = field(init=False)
    _save: Callable[[], None] = field(init=False)

    def begin(self, ledger: Ledger) -> None:
        """The process has begun."""
        zero_start = ZeroStart(self.hold_s, ledger.released())
        self._renderer = Renderer("0", _NO_PROCESS)
        self._zero_start = zero_start

        def save() -> None:
            if series := zero_start.unsaved(self._now()):
                ledger.save_released(series)
                zero_start.saved(series)

        self._save = save

    def save_released(self) -> None:
        """As the service does every now and then. Raises what the ledger raises."""
        self._save()

    def scrape(self, snapshot: FeedSnapshot) -> None:
        """Take a page, and hold it against the ones before and against the snapshot."""
        now = self._now()
        page = self._renderer.render([Feed(snapshot, self._zero_start)], now)
        values = dict(_counted(page.body.decode()))
        held = any(zeros for _, zeros in page.zeros)
        for series, value in values.items():
            before = self.shown.get(series)
            if before is None and value and self.hold_s:
                raise Violated(f"{series} is shown at {value} at first, not at 0")
            if before is not None and value < before:
                raise Violated(f"{series} fell from {before} to {value} in a scrape")
        if gone := self.shown.keys() - values.keys():
            raise Violated(f"{sorted(gone)[:3]} are not shown any more")
        if not held:
            self._is_real(values, snapshot)
        self.shown = values
        self.scrapes += 1
        self.whole += not held
        page.was_answered(now)

    def _is_real(self, values: dict[str, Decimal], snapshot: FeedSnapshot) -> None:
        real = dict(_of(snapshot))
        for series in real.keys() | values.keys():
            if values.get(series, Decimal(0)) != real.get(series, Decimal(0)):
                raise Violated(
                    f"{series} is shown at {values.get(series)}, the ledger has {real.get(series)}, nothing is held"
                )

    def _now(self) -> Moment:
        return Moment(self.time.wall_s(), self.time.monotonic_s())


def _counted(text: str) -> Iterator[tuple[str, Decimal]]:
    """The counters and histograms of a page: name and labels, and the value."""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        series, value = line.rsplit(" ", 1)
        name = series.partition("{")[0]
        if name in _TYPES and _TYPES[name] != "counter":
            continue
        if name in _TYPES or name.endswith(_SUFFIXES):
            yield series, Decimal(value)


def _of(snapshot: FeedSnapshot) -> Iterator[tuple[str, Decimal]]:
    """The same, from the values themselves."""
    labels_of = {family.name: family for family in catalog.FAMILIES}
    feed = (("account", snapshot.account), ("channel", snapshot.channel))
    for (name, values), counter in snapshot.counters.items():
        labels = (*feed, *values)
        yield f"{name}{label_set(labels)}", Decimal(number(counter))
    for (name, values), histogram in snapshot.histograms.items():
        labels = (*feed, *values)
        counts = list(accumulate(histogram.counts))
        bounds = (*(str(float(bound)) for bound in labels_of[name].buckets), "+Inf")
        for bound, count in zip(bounds, counts, strict=True):
            yield f"{name}_bucket{label_set((*labels, ('le', bound)))}", Decimal(count)
        yield f"{name}_sum{label_set(labels)}", Decimal(number(histogram.sum_s))
        yield f"{name}_count{label_set(labels)}", Decimal(counts[-1])
