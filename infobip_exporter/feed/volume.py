"""How many records to expect in a span of sent time."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import accumulate

from infobip_exporter.infobip.channels import LOG_KEEPS_MS
from infobip_exporter.ledger.ledger import MINUTE_MS
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import Histogram, Series
from infobip_exporter.reading.spans import Span, SpanSet

RECENT_MS = 10 * MINUTE_MS
NEARLY_ALL = 0.995
HARDLY_ANY = 0.5
"""How many messages none that was seen stands for."""
_BOUNDS_MS = tuple(round(bound_s * 1000) for bound_s in catalog.DELIVERY_DURATION.buckets)


class Volume:
    """Estimates from the messages counted in each minute of sent time: known where it was read, guessed elsewhere."""

    def __init__(self) -> None:
        self.rows_per_ms = 0.0
        """The traffic of the last minutes that were read."""
        self._settled_by: list[int] = []
        self._by_minute: Mapping[int, int] = {}
        self._unread = SpanSet()
        self._partly_read_ms: dict[int, int] = {}
        """How much has been read of the minutes that have not been read whole."""

    def learn(self, by_minute: Mapping[int, int], progress: Progress) -> None:
        self._by_minute = by_minute
        frontier_ms = progress.frontier_ms or 0
        self._unread = progress.unread.add(Span(frontier_ms, (frontier_ms // MINUTE_MS + 1) * MINUTE_MS))
        edges = {edge_ms // MINUTE_MS for span in self._unread for edge_ms in span}
        self._partly_read_ms = {minute: self._read_ms(_minute(minute)) for minute in edges}
        end_ms = frontier_ms
        if progress.unread and progress.unread.spans[-1].until_ms == frontier_ms:
            end_ms = progress.unread.spans[-1].since_ms
        self.rows_per_ms = self._recent_rows_per_ms(Span(min(by_minute, default=0) * MINUTE_MS, end_ms))

    def _recent_rows_per_ms(self, known: Span) -> float:
        """The traffic of the newest minutes of `known`, but for what is unread."""
        rows, read_ms = 0.0, 0
        for span in reversed(SpanSet([known]).without(self._unread).spans):
            newest = Span(max(span.since_ms, span.until_ms - RECENT_MS + read_ms), span.until_ms)
            rows += self.rows_in(newest)
            read_ms += newest.length_ms
            if read_ms >= RECENT_MS:
                break
        return rows / max(read_ms, MINUTE_MS)

    def learn_settling(self, histograms: Mapping[Series, Histogram]) -> None:
        observed = [h for series, h in histograms.items() if series.family == catalog.DELIVERY_DURATION.name]
        counts = [sum(column) for column in zip(*(histogram.counts for histogram in observed), strict=True)]
        self._settled_by = list(accumulate(counts))

    @property
    def settled_after_ms(self) -> int:
        """The age at which nearly all messages of the past had settled."""
        if not self._settled_by or not self._settled_by[-1]:
            return 0
        bucket = bisect_left(self._settled_by, NEARLY_ALL * self._settled_by[-1])
        return _BOUNDS_MS[bucket] if bucket < len(_BOUNDS_MS) else LOG_KEEPS_MS

    def unsettled_share(self, age_ms: int) -> float:
        """How many of the messages that settled in the past had not at this age, from 0 to 1.

        Between two bounds of the histogram messages are taken to settle at an even pace: of those that have not, the
        same part in each minute.
        """
        bucket = bisect_right(_BOUNDS_MS, age_ms)
        if bucket == len(_BOUNDS_MS):
            return self._left_after(bucket)
        below, above = (0, *_BOUNDS_MS)[bucket], _BOUNDS_MS[bucket]
        before, after = self._left_after(bucket), self._left_after(bucket + 1)
        if not before:
            return 0.0
        least = HARDLY_ANY / self._settled_by[-1]
        part = (age_ms - below) / (above - below)
        return before * math.pow(max(after, least) / before, part)

    def _left_after(self, buckets: int) -> float:
        """The part of the messages that settled later than the first so many buckets."""
        if not self._settled_by or not self._settled_by[-1] or buckets > len(_BOUNDS_MS):
            return 0.0
        return 1 - (0, *self._settled_by)[buckets] / self._settled_by[-1]

    def rows_in(self, span: Span) -> float:
        """The records to expect in `span`."""
        rows = self.rows_per_ms * self._unread.meet(span).total_ms
        first, last = span.since_ms // MINUTE_MS, (span.until_ms - 1) // MINUTE_MS
        for minute in range(first, last + 1):
            messages = self._by_minute.get(minute)
            if messages:
                inside = first < minute < last and minute not in self._partly_read_ms
                rows += messages if inside else messages * self._part(span, minute)
        return rows

    def _part(self, span: Span, minute: int) -> float:
        """How much of what has been read of a minute lies in `span`, from 0 to 1."""
        inside = span.meet(_minute(minute))
        of_ms = self._partly_read_ms.get(minute)
        if of_ms is None:
            return inside.length_ms / MINUTE_MS
        return self._read_ms(inside) / of_ms if of_ms else 0.0

    def _read_ms(self, span: Span) -> int:
        return span.length_ms - self._unread.meet(span).total_ms

    def since_with(self, until_ms: int, rows: float) -> int:
        """The moment from which on about `rows` records were sent before `until_ms`; at most 48 h before.

        What is unread at the end of the log counts whole.
        """
        read_ms = min(until_ms, self._unread.spans[-1].since_ms)
        rows -= self.rows_in(Span(read_ms, until_ms))
        last = (read_ms - 1) // MINUTE_MS
        first = last - LOG_KEEPS_MS // MINUTE_MS
        newest = Span(last * MINUTE_MS, read_ms)
        messages = self.rows_in(newest)
        if rows <= messages:
            return round(read_ms - newest.length_ms * max(0.0, rows) / messages) if messages else read_ms
        rows -= messages
        for minute in sorted(self._by_minute, reverse=True):
            if minute < last:
                messages = self._by_minute[minute]
                if messages > rows:
                    begin_ms = round((minute + 1 - rows / messages) * MINUTE_MS)
                    return max(first * MINUTE_MS, begin_ms)
                rows -= messages
        return first * MINUTE_MS


def _minute(minute: int) -> Span:
    return Span(minute * MINUTE_MS, (minute + 1) * MINUTE_MS)
