"""How many records to expect in a span of sent time."""

from collections.abc import Mapping

from infobip_exporter.api.channels import LOG_KEEPS_MS
from infobip_exporter.exposition import catalog
from infobip_exporter.exposition.snapshot import Histogram, Series
from infobip_exporter.ledger.ledger import MINUTE_MS
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.reading.spans import Span, SpanSet

RECENT_MINUTES = 10
NEARLY_ALL = 0.995


class Volume:
    """Estimates from the messages counted in each minute of sent time: known where it was read, guessed elsewhere."""

    def __init__(self) -> None:
        self.rows_per_ms = 0.0
        """The traffic of the last minutes that were read."""
        self.settled_after_ms = 0
        """The age at which nearly all messages of the past had settled."""
        self._by_minute: Mapping[int, int] = {}
        self._unread = SpanSet()

    def learn(self, by_minute: Mapping[int, int], progress: Progress) -> None:
        self._by_minute = by_minute
        self._unread = progress.unread
        end_ms = progress.frontier_ms or 0
        if progress.unread and progress.unread.spans[-1].until_ms == progress.frontier_ms:
            end_ms = progress.unread.spans[-1].since_ms
        last = end_ms // MINUTE_MS
        first = max(last - RECENT_MINUTES, min(by_minute, default=last))
        recent = sum(by_minute.get(minute, 0) for minute in range(first, last))
        beyond = by_minute.get(last, 0) if last == first else 0
        self.rows_per_ms = (recent + beyond) / (max(1, last - first) * MINUTE_MS)

    def learn_settling(self, histograms: Mapping[Series, Histogram]) -> None:
        observed = [h for series, h in histograms.items() if series.family == catalog.DELIVERY_DURATION.name]
        counts = [sum(column) for column in zip(*(histogram.counts for histogram in observed), strict=True)]
        bounds_s = (*catalog.DELIVERY_DURATION.buckets, float("inf"))
        settled = 0
        for count, bound_s in zip(counts, bounds_s, strict=False):
            settled += count
            if settled >= NEARLY_ALL * sum(counts):
                self.settled_after_ms = LOG_KEEPS_MS if bound_s == bounds_s[-1] else round(bound_s * 1000)
                return

    def rows_in(self, span: Span) -> float:
        """The records to expect in `span`."""
        unread_ms = self._unread.meet(span).total_ms
        read_part = 1 - unread_ms / span.length_ms if span.length_ms else 0.0
        rows = self.rows_per_ms * unread_ms
        if read_part > 0:
            rows += read_part * self._counted(span)
        return rows

    def since_with(self, until_ms: int, rows: float) -> int:
        """The moment from which on about `rows` records were sent before `until_ms`; at most 48 h before."""
        minute = (until_ms - 1) // MINUTE_MS
        begin_ms = minute * MINUTE_MS
        rows -= self.rows_in(Span(begin_ms, until_ms))
        while rows >= 0 and until_ms - begin_ms < LOG_KEEPS_MS:
            minute -= 1
            rows -= self._by_minute.get(minute, 0)
            if rows >= 0:
                begin_ms = minute * MINUTE_MS
        return begin_ms

    def _counted(self, span: Span) -> float:
        first, last = span.since_ms // MINUTE_MS, (span.until_ms - 1) // MINUTE_MS
        counted = 0.0
        for minute in range(first, last + 1):
            messages = self._by_minute.get(minute)
            if messages:
                inside = span.meet(Span(minute * MINUTE_MS, (minute + 1) * MINUTE_MS))
                counted += messages * inside.length_ms / MINUTE_MS
        return counted
