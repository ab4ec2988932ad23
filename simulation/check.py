"""The invariants of the design, checked after every commit."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import Histogram, InFlight, Series
from infobip_exporter.reading.spans import Span, SpanSet
from simulation.api import Witness
from simulation.time import VirtualTime
from simulation.trace import Trace, short
from simulation.violation import Violated

NOTICED_FOR_MS = 600_000
"""What was asked before a clock that was set was noticed may be written so much later."""
MIRROR_EVERY = 100
"""How many commits lie between two comparisons of the ledger in memory with what SQLite holds."""

Counters = Mapping[Series, int | Decimal]


@dataclass(slots=True)
class Guard:
    """Watches one feed's ledger through all lives of the process."""

    time: VirtualTime
    witness: Witness
    trace: Trace
    late_ms: int
    rounded_ms: int = 0
    """How far ahead of the API's now the exporter may be by rounding its own clock, where no answer tells the time."""
    begin_ms: int | None = None
    """The sent time at which the feed began."""
    closed: SpanSet = SpanSet()
    """Sent time that was read for good."""
    lost: SpanSet = SpanSet()
    """Sent time that was told as lost."""
    commits: int = 0
    counters: Counters = field(default_factory=dict)
    histograms: Mapping[Series, Histogram] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    under_way: Changes | None = None
    """The commit that was begun and of which the process has not learnt that it is done."""

    def loaded(self, ledger: Ledger) -> None:
        """The process has begun again: the ledger holds the last commit, and at most the one that was under way."""
        after = self.under_way
        self.under_way = None
        if ledger.counters == self.counters and ledger.progress == self.progress:
            return
        if after is None:
            raise Violated("the ledger holds something else than the last commit left")
        self._rises(ledger)
        self._commit(ledger, after)

    def committing(self, changes: Changes) -> None:
        self.under_way = changes

    def committed(self, ledger: Ledger) -> None:
        """A commit is done, and the process knows it."""
        changes = self.under_way
        assert changes is not None
        self.under_way = None
        self._commit(ledger, changes)
        if self.commits % MIRROR_EVERY == 0:
            mirrors(ledger)

    def _commit(self, ledger: Ledger, changes: Changes) -> None:
        self.commits += 1
        if changes.counters or changes.in_flight or changes.histograms:
            self._adds(changes)
            conserves(changes.counters, changes.in_flight)
            is_not_negative({labels: ledger.in_flight.get(labels, 0) for labels in changes.in_flight})
        if any(series.family == catalog.UNRESOLVED.name for series in changes.counters):
            self._is_gone(changes)
        if changes.progress is not None:
            self._goes_on(ledger.progress, changes)
        self.counters, self.histograms, self.progress = ledger.counters, ledger.histograms, ledger.progress

    def _adds(self, changes: Changes) -> None:
        for series, amount in changes.counters.items():
            if amount < 0:
                raise Violated(f"{series} falls by {-amount}")
        for series, observed in changes.histograms.items():
            if min(observed.counts) < 0 or observed.sum_s < 0:
                raise Violated(f"{series} falls")

    def _rises(self, ledger: Ledger) -> None:
        for series, value in self.counters.items():
            if ledger.counters.get(series, 0) < value:
                raise Violated(f"{series} fell from {value} to {ledger.counters.get(series, 0)} over a crash")

    def _is_gone(self, changes: Changes) -> None:
        """What is told as unresolved has left the log."""
        gone_ms = self.time.api_ms + self._unnoticed_ms() + self.rounded_ms - LOG_KEEPS_MS
        early = [known.sent_ms for known in changes.forget.values() if known.sent_ms > gone_ms]
        if early:
            raise Violated(f"{len(early)} messages are unresolved before they left the log, sent {early[:3]}")

    # The time that was read

    def _goes_on(self, progress: Progress, changes: Changes) -> None:
        before = self.progress
        if progress.frontier_ms is None:
            return
        # Until an answer tells that the API's clock was set back, the exporter goes by what it was.
        latest_ms = self.time.api_ms + self._unnoticed_ms() + self.rounded_ms
        if progress.frontier_ms > max(latest_ms, self.progress.frontier_ms or 0):
            raise Violated(f"the frontier is {progress.frontier_ms - self.time.api_ms} ms in the future")
        self._is_tidy(progress)
        to_read = [*before.unread, *before.open]
        if before.frontier_ms is None:
            first_ms = progress.unread.spans[0].since_ms if progress.unread else progress.frontier_ms
            self.begin_ms = first_ms - _told_lost(changes)
            to_read.append(Span(self.begin_ms, progress.frontier_ms))
        elif progress.frontier_ms < before.frontier_ms:
            raise Violated("the frontier went back")
        else:
            to_read.append(Span(before.frontier_ms, progress.frontier_ms))
        was = SpanSet(to_read)
        left = SpanSet((*progress.unread, *progress.open))
        if without(left, was):
            raise Violated(f"time that was read is to be read again: {without(left, was)}")
        self._gone(without(was, left), _told_lost(changes))

    def _is_tidy(self, progress: Progress) -> None:
        unread, open_ = progress.unread, progress.open
        if overlap := meet(unread, open_):
            raise Violated(f"unread and open overlap in {overlap}")
        assert progress.frontier_ms is not None
        for spans in (unread, open_):
            if any(span.until_ms > progress.frontier_ms for span in spans):
                raise Violated(f"{spans} goes beyond the frontier {progress.frontier_ms}")
            if (
                list(spans) != sorted(spans)
                or SpanSet(spans) != spans
                or any(s.length_ms == 0 for s in spans)
            ):
                raise Violated(f"{spans} is not in order")

    def _gone(self, gone: SpanSet, lost_ms: int) -> None:
        """What is not to be read any more was either told as lost or has been read, late enough, whole."""
        if lost_ms > gone.total_ms:
            raise Violated(
                f"{lost_ms} ms told as lost, but only {gone.total_ms} ms are not to be read any more"
            )
        lost, closed = lowest(gone, lost_ms)
        if lost:
            self.trace("lost", short(self.time.begins_ms, lost.spans))
            self.lost = SpanSet((*self.lost, *lost))
        if not closed:
            return
        set_back_ms = self._unnoticed_ms()
        safe_ms = self.witness.last_asked_ms + set_back_ms + self.rounded_ms - self.late_ms
        if closed.spans[-1].until_ms > safe_ms:
            early_ms = closed.spans[-1].until_ms - safe_ms
            raise Violated(f"closed {early_ms} ms before the last record can have turned up: {closed}")
        if unasked := without(closed, self.witness.asked):
            raise Violated(f"closed without having been asked for: {unasked}")
        self.closed = SpanSet((*self.closed, *closed))

    def _is_unnoticed(self) -> bool:
        """Whether the API's clock was set and too few answers have told so."""
        return (
            self.time.stepped_s_ago() < math.inf
            and self.time.api_ms < self.witness.noticed_ms + NOTICED_FOR_MS
        )

    def _unnoticed_ms(self) -> int:
        """By how much the API's clock was set back without anybody having noticed."""
        return self.time.set_back_ms() if self._is_unnoticed() else 0

    def poll_ended(self, progress: Progress, began_ms: int) -> None:
        """After a poll that went well nothing is left to be read that had left the log when it began."""
        if self._is_unnoticed():
            return
        oldest = min((s.spans[0].since_ms for s in (progress.unread, progress.open) if s), default=began_ms)
        if oldest < began_ms - LOG_KEEPS_MS - 5000:
            raise Violated(
                f"to be read although it left the log: {began_ms - LOG_KEEPS_MS - oldest} ms of it"
            )


class WatchedLedger(Ledger):
    """The real ledger, with a guard that looks at every commit."""

    def __init__(self, store: Store, account: str, channel: str, guard: Guard) -> None:
        super().__init__(store, account, channel)
        self._guard = guard
        guard.loaded(self)

    def commit(self, changes: Changes) -> None:
        self._guard.committing(changes)
        super().commit(changes)
        self._guard.committed(self)


def conserves(counters: Counters, in_flight: Mapping[InFlight, int]) -> None:
    """messages_sent = messages + in_flight + messages_unresolved, for each entity and application."""
    balance: Counter[tuple[str, ...]] = Counter()
    for (family, labels), value in counters.items():
        if family == catalog.SENT.name:
            balance[labels] += int(value)
        elif family in (catalog.MESSAGES.name, catalog.UNRESOLVED.name):
            balance[labels[-2:]] -= int(value)
    for labels, messages in in_flight.items():
        balance[labels[-2:]] -= messages
    for platform, difference in balance.items():
        if difference:
            raise Violated(
                f"{difference} messages of {platform} are sent but nowhere, or the other way round"
            )


def is_not_negative(in_flight: Mapping[InFlight, int]) -> None:
    for labels, messages in in_flight.items():
        if messages < 0:
            raise Violated(f"{messages} messages in flight as {labels}")


def mirrors(ledger: Ledger) -> None:
    """What the ledger holds in memory is what SQLite holds, and nothing is remembered that need not be."""
    stored = Ledger(ledger.store, ledger.account, ledger.channel)
    for name in (
        "progress",
        "counters",
        "histograms",
        "in_flight",
        "in_flight_by_minute",
        "oldest_in_flight_ms",
        "volume",
        "settled_by_hour",
    ):
        if getattr(stored, name) != getattr(ledger, name):
            raise Violated(
                f"{name} in memory is not what SQLite holds: {getattr(ledger, name)} {getattr(stored, name)}"
            )
    conserves(ledger.counters, ledger.in_flight)
    is_not_negative(ledger.in_flight)
    to_read = SpanSet((*stored.progress.unread, *stored.progress.open))
    with stored.store.reading() as cursor:
        settled = cursor.execute(
            "SELECT sent_ms FROM message WHERE feed_id = ? AND settled = 1", (stored.feed_id,)
        ).fetchall()
    if stale := [sent_ms for (sent_ms,) in settled if sent_ms not in to_read]:
        raise Violated(
            f"{len(stale)} settled messages are remembered in time that is closed, sent {stale[:3]}"
        )


def _told_lost(changes: Changes) -> int:
    seconds = sum(Decimal(v) for s, v in changes.counters.items() if s.family == catalog.LOST.name)
    return int(seconds * 1000)


def without(spans: SpanSet, gone: SpanSet) -> SpanSet:
    for span in gone:
        spans = spans.remove(span)
    return spans


def meet(one: SpanSet, other: SpanSet) -> SpanSet:
    return SpanSet(span for window in other for span in one.meet(window))


def lowest(spans: SpanSet, length_ms: int) -> tuple[SpanSet, SpanSet]:
    """The oldest `length_ms` of `spans`, and the rest."""
    taken: list[Span] = []
    for span in spans:
        part = Span(span.since_ms, min(span.until_ms, span.since_ms + length_ms))
        length_ms -= part.length_ms
        taken.append(part)
    oldest = SpanSet(taken)
    return oldest, without(spans, oldest)
