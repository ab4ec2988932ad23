"""The invariants of the design, checked after every commit."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from infobip_exporter.counting import known
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics import catalog
from infobip_exporter.model.cells import NEVER_MS, Cell, Cells
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.labels import LABELS
from infobip_exporter.model.series import Histogram, Series
from infobip_exporter.model.time_range import TimeRange, TimeRanges
from simulation.api import History
from simulation.time import ApiTime
from simulation.trace import Trace, short
from simulation.violation import Violated

MIRROR_EVERY = 100
"""How many commits lie between two comparisons of the ledger in memory with what SQLite holds."""
EDGE_SLACK_MS = 3_600_000
"""A poll that is an hour late has not yet told what has left the log."""
SLACK_MS = 2_000
Counters = Mapping[Series, int | Decimal]


class Proof(NamedTuple):
    """A whole read of a cell: its range, when it was asked for by the exporter's knowledge, and the API's time now."""

    range: TimeRange
    asked_ms: int
    at_ms: int


@dataclass(slots=True)
class Guard:
    """Watches one feed's ledger through all lives of the process."""

    time: ApiTime
    history: History
    trace: Trace
    stored: Callable[[], Ledger]
    """Reads the ledger that the database holds; never dies."""
    late_ms: int
    clock_error_ms: int = 0
    """How far the API's now, as its answers tell it, may be from the clock that stamps sent times."""
    timeout_ms: int = 0
    """How long an answer may take: by so much the API's earliest now, which cells keep, may be behind."""
    begin_ms: int | None = None
    """The sent time at which the feed began."""
    lost: TimeRanges = TimeRanges()
    """Sent time that was told as lost."""
    finals: list[Proof] = field(default_factory=list)
    """The reads that made cells final."""
    audits: list[Proof] = field(default_factory=list)
    """The reads that held final cells against the log."""
    final_age_ms: Callable[[], int] = lambda: 0
    """The final age in force,"""
    shown_final_age_ms: Callable[[], int] = lambda: 0
    """and the one that was shown after the last commit."""
    went_back: bool = False
    """Whether the watermark has gone back: what was read is to be read again, then."""
    is_misled: Callable[[], bool] = lambda: False
    """Whether a wrong time may have been believed at some point."""
    commits: int = 0
    counters: Counters = field(default_factory=dict)
    histograms: Mapping[Series, Histogram] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    cells: Cells = field(default_factory=Cells)
    under_way: Changes | None = None
    """The commit that was begun and of which the process has not learnt that it is done."""

    def loaded(self, ledger: Ledger) -> None:
        """The process has begun again: the ledger holds the last commit, and at most the one that was under way."""
        after = self.under_way
        self.under_way = None
        mirrors(ledger, self.stored())
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
            mirrors(ledger, self.stored())

    def _commit(self, ledger: Ledger, changes: Changes) -> None:
        self.commits += 1
        if changes.counters or changes.in_flight or changes.histograms:
            _adds(changes)
            conserves(changes.counters, changes.in_flight)
            is_not_negative({series: ledger.in_flight.get(series, 0) for series in changes.in_flight})
        if changes.progress is not None and changes.progress.begin_ms is not None:
            self._goes_on(changes.progress, ledger.cells, changes)
        self.counters, self.histograms = ledger.counters, ledger.histograms
        self.progress, self.cells = ledger.progress, ledger.cells

    def _rises(self, ledger: Ledger) -> None:
        for series, value in self.counters.items():
            if ledger.counters.get(series, 0) < value:
                raise Violated(f"{series} fell from {value} to {ledger.counters.get(series, 0)} over a crash")

    # The time that was read

    def _goes_on(self, progress: Progress, cells: Cells, changes: Changes) -> None:
        assert progress.begin_ms is not None
        if self.begin_ms is None:
            self.begin_ms = progress.begin_ms
        before = self.progress
        if cells is not self.cells or (progress.unread, progress.watermark_ms) != (
            before.unread,
            before.watermark_ms,
        ):
            self._is_tidy(progress, cells)
        self._loses(progress, cells, changes)
        for cell in changes.cells:
            if not cell.final:
                continue
            around = self.cells.between(cell.range)  # a final cell may have been divided
            was = next((each for each in around if each.final and each.range.covers(cell.range)), None)
            if was is None:
                self._becomes_final(cell)
                self._keeps_what_the_log_lacks(cell, changes.settled.get(cell.since_ms, b""))
            elif cell.reads > was.reads and cell.audited:
                self.audits.append(Proof(cell.range, cell.read_ms, self.time.now_ms()))

    def _is_tidy(self, progress: Progress, cells: Cells) -> None:
        """Cells and unread ranges are disjoint and in order, inside the log, and nothing between them is left out."""
        unread, table = progress.unread, cells.table
        if TimeRanges(unread) != unread:
            raise Violated(f"{unread} is not in order")
        if len(table) and (
            (table["until_ms"] <= table["since_ms"]).any()
            or (table["until_ms"][:-1] > table["since_ms"][1:]).any()
        ):
            bad = np.flatnonzero(table["until_ms"][:-1] > table["since_ms"][1:])[:1].tolist()
            raise Violated(
                f"cells overlap or are empty: {[cells[place] for at in bad for place in (at, at + 1)]}"
            )
        if unread and (
            unread.ranges[-1].until_ms > progress.watermark_ms
            or unread.ranges[0].since_ms < (progress.begin_ms or 0)
        ):
            raise Violated(f"{unread} goes beyond what was begun or the watermark {progress.watermark_ms}")
        if len(table) and int(table["since_ms"][0]) < (self.begin_ms or 0):
            raise Violated(f"{cells[0]} lies before the time that is counted")
        read = _proven(cells)
        self.went_back |= progress.watermark_ms < self.progress.watermark_ms
        if not self.went_back and read.total_ms + unread.total_ms != TimeRanges([*read, *unread]).total_ms:
            raise Violated(f"unread time was read: {unread} {read}")
        edge_ms = self.time.now_ms() - LOG_KEEPS_MS + self.clock_error_ms
        begin_ms = max(progress.begin_ms or 0, edge_ms)
        left_out = TimeRanges([(begin_ms, progress.watermark_ms)]).without(unread).without(read)
        if left_out and not self.is_misled():
            raise Violated(f"neither read nor unread nor lost: {short(self.time.time.begins_ms, left_out)}")

    def _loses(self, progress: Progress, cells: Cells, changes: Changes) -> None:
        """What is not to be read any more has been read or is told as lost, to the millisecond."""
        told = {
            s.label("reason"): round(v * 1000)
            for s, v in changes.counters.items()
            if s.family == catalog.LOST.name
        }
        before = self.progress
        since_ms = max(before.watermark_ms, self.begin_ms or 0)
        passed = TimeRanges([(since_ms, progress.watermark_ms if before.watermark_ms else 0)])
        if (
            passed
        ):  # what was read ahead of the watermark, or before the watermark went back, needs no telling
            passed = passed.without(_proven(self.cells))
        gone = TimeRanges([*before.unread, *passed]).without(progress.unread).below(progress.watermark_ms)
        ended = TimeRanges(
            cell.range
            for cell in map(self.cells.at, changes.gone)
            if cell is not None
            and not cell.final
            and cell.read_ms != NEVER_MS
            and cell.read_ms < cell.until_ms + self.late_ms
        )
        if not (gone or ended or told):
            return
        now = _proven(cells)
        gone, ended = gone.without(now), ended.without(now)
        expired_ms = gone.total_ms + ended.total_ms
        if told.get("expired", 0) != expired_ms:
            ranges = short(self.time.time.begins_ms, [*gone, *ended])
            raise Violated(f"{told.get('expired', 0)} ms told as lost, it should be {expired_ms}: {ranges}")
        dense = TimeRanges(
            cell.range for cell in changes.cells if told.get("too_dense") and not cell.auditable
        )
        back = TimeRanges()
        if told.get("clock_set_back"):
            repeated = TimeRange(progress.watermark_ms, self.progress.watermark_ms)
            back = TimeRanges(cell.range.meet(repeated) for cell in cells.between(repeated) if cell.final)
        lost = TimeRanges([*gone, *ended, *dense, *back])
        if lost:
            self.trace("lost", short(self.time.time.begins_ms, lost), told)
            self.lost = TimeRanges([*self.lost, *lost])

    def _becomes_final(self, cell: Cell) -> None:
        now_ms = self.time.now_ms()
        self.finals.append(Proof(cell.range, cell.read_ms, now_ms))
        unasked = TimeRanges([cell.range]).without(self.history.asked)
        if self.is_misled():  # an answer without an end proves time that, by a wrong clock, has come
            unasked = unasked.below(self.history.open_until_ms)
        if unasked:
            raise Violated(f"final without having been asked for: {short(self.time.time.begins_ms, unasked)}")
        age_ms = (
            max(self.late_ms, min(self.shown_final_age_ms(), self.final_age_ms()))
            - self.clock_error_ms
            - SLACK_MS
        )
        if now_ms - cell.until_ms < age_ms and not self.is_misled():
            raise Violated(
                f"final {now_ms - cell.until_ms} ms after it was sent, should be {age_ms} at least: {cell}"
            )

    def _keeps_what_the_log_lacks(self, cell: Cell, kept: bytes) -> None:
        """Settled messages are kept of a final cell only if the read that made it final did not show them.

        Of one that can't be audited no read shows all.
        """
        if not kept or not cell.auditable or self.is_misled():
            return
        keys = known.decode_settled(kept, cell.since_ms)["key"]
        shown_ms = cell.read_ms + self.timeout_ms + self.clock_error_ms + SLACK_MS
        shown = [
            who
            for who, (query, last_ms) in self.history.last_shown.items()
            if cell.range.holds(who[1]) and last_ms > shown_ms and _covers(query, cell.range)
        ]
        still = np.isin(
            known.keys([who[0] for who in shown], np.array([who[1] for who in shown], np.int64)), keys
        )
        if still.any():
            raise Violated(f"settled messages are kept of {cell}, which is final, and the log still has them")

    def poll_ended(self, began_ms: int, *, certain: bool) -> None:
        """After a poll that went well nothing is left to be read that had left the log long before it began."""
        unread = self.progress.unread
        oldest_ms = unread.ranges[0].since_ms if unread else began_ms
        if certain and oldest_ms < began_ms - LOG_KEEPS_MS - EDGE_SLACK_MS - self.clock_error_ms:
            raise Violated(
                f"to be read although it left the log {began_ms - LOG_KEEPS_MS - oldest_ms} ms ago"
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


@lru_cache(maxsize=4)
def _proven(cells: Cells) -> TimeRanges:
    """The time of the cells that were read."""
    table = cells.table[cells.table["read_ms"] != NEVER_MS]
    if not len(table):
        return TimeRanges()
    since_ms, until_ms = table["since_ms"], table["until_ms"]
    apart = until_ms[:-1] != since_ms[1:]
    firsts, lasts = since_ms[np.append(True, apart)], until_ms[np.append(apart, True)]
    return TimeRanges(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _covers(query: Query, wanted: TimeRange) -> bool:
    since_ms, until_ms = query.since_ms, query.until_ms
    reaches = until_ms is None or wanted.until_ms <= until_ms
    return since_ms is not None and since_ms <= wanted.since_ms and reaches


def _adds(changes: Changes) -> None:
    for series, amount in changes.counters.items():
        if amount < 0:
            raise Violated(f"{series} falls by {-amount}")
    for series, observed in changes.histograms.items():
        if min(observed.counts) < 0 or observed.sum_s < 0:
            raise Violated(f"{series} falls")


def conserves(counters: Counters, in_flight: Mapping[Series, int]) -> None:
    """messages_sent = messages + in_flight + messages_unresolved, for all values of labels known when a message is sent."""
    balance: Counter[tuple[tuple[str, str], ...]] = Counter()
    for series, value in counters.items():
        if series.family == catalog.SENT.name:
            balance[_sent_labels(series)] += int(value)
        elif series.family in (catalog.MESSAGES.name, catalog.UNRESOLVED.name):
            balance[_sent_labels(series)] -= int(value)
    for series, messages in in_flight.items():
        balance[_sent_labels(series)] -= messages
    for labels, difference in balance.items():
        if difference:
            raise Violated(f"{difference} messages of {labels} are sent but nowhere, or the other way round")


def _sent_labels(series: Series) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in series.labels if LABELS[name].sent)


def is_not_negative(in_flight: Mapping[Series, int]) -> None:
    for labels, messages in in_flight.items():
        if messages < 0:
            raise Violated(f"{messages} messages in flight as {labels}")


def mirrors(ledger: Ledger, stored: Ledger) -> None:
    """What the ledger holds in memory is what SQLite holds, and the cells' numbers are those of their messages."""
    for name in ("progress", "counters", "histograms", "in_flight", "settled_by_hour"):
        if getattr(stored, name) != getattr(ledger, name):
            raise Violated(
                f"{name} in memory is not what SQLite holds: {getattr(ledger, name)} {getattr(stored, name)}"
            )
    if stored.cells.table.tolist() != ledger.cells.table.tolist():
        raise Violated(
            f"cells in memory are not what SQLite holds: {ledger.cells.table} {stored.cells.table}"
        )
    conserves(ledger.counters, ledger.in_flight)
    is_not_negative(ledger.in_flight)
    _holds_its_messages(stored)


def _holds_its_messages(ledger: Ledger) -> None:
    cells = [ledger.cells[place] for place in range(len(ledger.cells))]
    messages = ledger.messages([cell.since_ms for cell in cells])
    keys: list[int] = []
    for cell in cells:
        settled = known.decode_settled(messages[cell.since_ms].settled, cell.since_ms)
        data = messages[cell.since_ms].in_flight
        in_flight = known.decode_in_flight(data, cell.since_ms) if data else {}
        keys += settled["key"].tolist()
        if len(in_flight) != cell.in_flight:
            raise Violated(f"{len(in_flight)} messages in flight are kept of {cell}")
        if not cell.final and len(settled) + len(in_flight) != cell.messages:
            raise Violated(f"{len(settled) + len(in_flight)} messages are kept of {cell}")
    if len(set(keys)) != len(keys):
        raise Violated("a settled message is kept twice")
    total = sum(cell.in_flight for cell in cells)
    if total != sum(ledger.in_flight.values()):
        raise Violated(f"{sum(ledger.in_flight.values())} messages in flight, {total} are kept in cells")
