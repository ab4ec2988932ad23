"""The metrics page: every feed's snapshot as Prometheus text 0.0.4 or OpenMetrics 1.0.0.

The lines are written here rather than by prometheus_client: 10,000 series take its `generate_latest` about 70 ms,
and this about 6 (`python -m bench.exposition` shows both), because what comes before a number is made once for
each series. prometheus_client still writes its own metrics of the process.
"""

import platform
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import accumulate, chain
from typing import NamedTuple

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import FAMILIES
from infobip_exporter.metrics.gauges import gauges
from infobip_exporter.metrics.lines import (
    Lines,
    beginner,
    heading,
    histogram_beginner,
    label_set,
    number,
    numbers,
)
from infobip_exporter.metrics.process import Process
from infobip_exporter.metrics.snapshot import FeedSnapshot, Reloaded
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.model.series import Histogram, Series

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

ALWAYS_THERE = (
    *(Series.of(catalog.LOST.name, reason=reason) for reason in ("expired", "too_dense", "clock_set_back")),
    *(
        Series.of(catalog.REJECTED.name, reason=reason)
        for reason in ("no_id", "no_sent_at", "no_status", "too_long")
    ),
    *(
        Series.of(catalog.AUDIT.name, result=result)
        for result in ("verified", "recovered", "missed", "vanished")
    ),
    Series.of(catalog.DURATIONS_REJECTED.name),
)
"""Counters whose labels are known beforehand: shown, at 0, before there is anything to count."""

_NOTHING = dict.fromkeys(ALWAYS_THERE, 0)


class Feed(NamedTuple):
    """What a scrape needs of a feed."""

    snapshot: FeedSnapshot
    zero_start: ZeroStart


class Page(NamedTuple):
    """A rendered page. `zeros` are the series that it shows at 0 because they are new, for each feed in turn."""

    body: bytes
    zeros: list[tuple[ZeroStart, frozenset[Series]]]

    def was_answered(self, now: Moment) -> None:
        """Say that a scraper took this page, rendered at `now`, whole: the holds of what it showed first begin."""
        for zero_start, shown in self.zeros:
            zero_start.shown(shown, now)


class Renderer:
    """Writes the page, and remembers the line beginnings of every feed that is still there. For one thread."""

    def __init__(self, version: str, process: Process) -> None:
        self._build = f"{catalog.BUILD_INFO.name}{label_set(_build_labels(version))} 1\n"
        self._headings = {
            open_metrics: {family.name: heading(family, open_metrics=open_metrics) for family in FAMILIES}
            for open_metrics in (False, True)
        }
        self._feeds: dict[tuple[str, str], _FeedLines] = {}
        self._process = process

    def render(
        self,
        feeds: Sequence[Feed],
        now: Moment,
        *,
        open_metrics: bool = False,
        reloaded: Reloaded | None = None,
        log_lines_dropped: int = 0,
        standby: int = 0,
    ) -> Page:
        """The page of `feeds` at `now`; `reloaded` is how the configuration was last read.

        `standby` are the feeds that are configured and run elsewhere.
        """
        names = [(feed.snapshot.account, feed.snapshot.channel) for feed in feeds]
        self._feeds = {name: self._feeds.get(name) or _FeedLines(*name) for name in names}
        texts: list[dict[str, str]] = []
        zeros: list[tuple[ZeroStart, frozenset[Series]]] = []
        for name, feed in zip(names, feeds, strict=True):
            lines, held = self._feeds[name].write(feed, now)
            texts.append(lines)
            zeros.append((feed.zero_start, held))
        dropped = f"{catalog.LOG_LINES_DROPPED.name} {log_lines_dropped}\n"
        texts.append(
            {
                catalog.FEEDS.name: "".join(
                    f'{catalog.FEEDS.name}{{state="{state}"}} {count}\n'
                    for state, count in (("owned", len(feeds)), ("standby", standby))
                ),
                catalog.LOG_LINES_DROPPED.name: dropped,
                catalog.BUILD_INFO.name: self._build,
                **_reload_lines(reloaded),
            }
        )
        parts: list[str] = []
        for family, heading_text in self._headings[open_metrics].items():
            written = [lines[family] for lines in texts if family in lines]
            if written:
                parts += (heading_text, *written)
        parts.append(self._process.open_metrics if open_metrics else self._process.text)
        return Page("".join(parts).encode(), zeros)


class _FeedLines:
    """One feed's lines."""

    def __init__(self, account: str, channel: str) -> None:
        begin = beginner(account, channel)
        labels = label_set((("account", account), ("channel", channel)))
        self._counters: Lines[str] = Lines(begin)
        self._in_flight: Lines[str] = Lines(begin)
        self._histograms: Lines[tuple[str, ...]] = Lines(histogram_beginner(account, channel))
        self._gauges = {
            family.name: f"{family.name}{labels} " for family in FAMILIES if family.type == "gauge"
        }

    def write(self, feed: Feed, now: Moment) -> tuple[dict[str, str], frozenset[Series]]:
        """The lines of each family at `now`, and the series among them that are shown at 0 for being new."""
        snapshot = feed.snapshot
        counters = {**_NOTHING, **snapshot.counters}
        histograms = dict(snapshot.histograms)
        # Whatever this page shows for the first time must be known to be new before anything is decided about it.
        feed.zero_start.add(self._counters.follow(counters))
        feed.zero_start.add(self._histograms.follow(histograms))
        self._in_flight.follow(snapshot.in_flight)
        held = frozenset(
            series for series in feed.zero_start.held(now) if series in counters or series in histograms
        )
        for series in held:
            if series in counters:
                counters[series] = 0
            else:
                histograms[series] = _emptied(histograms[series])
        text: dict[str, str] = {}
        for family, beginnings, values in self._counters.columns(counters):
            text[family] = _written(beginnings, numbers(values))
        for family, beginnings, counts in self._in_flight.columns(snapshot.in_flight):
            text[family] = _written(beginnings, numbers(counts))
        for family, series_beginnings, observed in self._histograms.columns(histograms):
            text[family] = "".join(map(_written, series_beginnings, map(_values, observed)))
        for gauge, value in gauges(snapshot, now.wall_s).items():
            if value is not None:
                text[gauge.name] = _written([self._gauges[gauge.name]], [number(value)])
        return text, held


def _reload_lines(reloaded: Reloaded | None) -> dict[str, str]:
    if reloaded is None:
        return {}
    values = {
        catalog.RELOAD_SUCCESSFUL: int(reloaded.successful),
        catalog.RELOAD_SUCCESS: reloaded.success_s,
    }
    return {family.name: f"{family.name} {number(value)}\n" for family, value in values.items()}


def _written(beginnings: Sequence[str], values: Iterable[str]) -> str:
    ends = ["\n"] * len(beginnings)
    return "".join(chain.from_iterable(zip(beginnings, values, ends, strict=True)))


def _emptied(histogram: Histogram) -> Histogram:
    return Histogram((0,) * len(histogram.counts), Decimal(0))


def _values(histogram: Histogram) -> Iterable[str]:
    cumulated = [str(count) for count in accumulate(histogram.counts)]
    return (*cumulated, number(histogram.sum_s), cumulated[-1])


def _build_labels(version: str) -> tuple[tuple[str, str], ...]:
    return (("version", version), ("python_version", platform.python_version()))
