"""From an answer to the ledger: one commit for each page, whole or not at all."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from structlog.typing import FilteringBoundLogger

from infobip_exporter.counting import known as known_
from infobip_exporter.counting.audit import EDGE_MS, Finding, Shown, audit, divide, finalize, settle
from infobip_exporter.counting.caps import Caps
from infobip_exporter.counting.count import (
    MOVED_MS,
    Counted,
    Statuses,
    count,
    histogram,
)
from infobip_exporter.counting.cut import cut
from infobip_exporter.counting.known import ByTime, InFlight, Known
from infobip_exporter.counting.tally import in_flight_series, unresolved_series
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed.clock import Clock, Worker
from infobip_exporter.feed.incidents import Incidents
from infobip_exporter.infobip.clock import Bounds
from infobip_exporter.infobip.rate_limit import Kept
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics import catalog
from infobip_exporter.model.cells import NEVER_MS, Cell
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.labels import LABELS
from infobip_exporter.model.record import Page, Record
from infobip_exporter.model.series import Series
from infobip_exporter.model.time_range import DAY_MS, HOUR_MS, TimeRange, TimeRanges

LEDGER_RETRY_S = 5.0
RESERVED_REQUESTS = 4
"""Requests that may be made before the next commit: as many as may be under way at once,"""
RESERVED_FOR_S = 30.0
"""and within this time of the last one."""
AHEAD_MS = HOUR_MS
"""Records stamped further ahead of the API's now than this are not counted before their time has come."""
MOST_CELLS_AT_ONCE = 2000

T = TypeVar("T")


@dataclass(slots=True)
class Found:
    """What a poll has found, in messages."""

    new: int = 0
    settled: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer to be recorded.

    `proven` is the range that it has shown completely, None if it proves nothing. `asked` bounds the API's now when it
    was asked for, `now` when it had arrived. `final_age_ms` is the age from which it makes cells final. `late`: its
    messages come from a backlog, their freshness is not the exporter's. `head`: what it has of cells before the
    watermark is an overlap. `too_dense`: the API can't show all of it. `only_in_flight`: only messages
    that are in flight matter. `looked` are cells of which all messages in flight were asked for. `postpones` as in `count`.
    """

    page: Page
    proven: TimeRange | None
    asked: Bounds
    now: Bounds
    final_age_ms: int
    late: bool = False
    head: bool = False
    too_dense: bool = False
    oversized: bool = False
    only_in_flight: bool = False
    looked: tuple[int, ...] = ()
    postpones: bool = True


class Recorder:
    """Writes a feed's ledger. `progress` is what the next commit will say of how far the feed has come.

    `kept_requests` gives the last minute's requests as they are to be stored, `published` is called after each commit.
    While the ledger can't be written or read nothing is asked and nothing is forgotten: it waits until that succeeds.
    """

    def __init__(
        self,
        ledger: Ledger,
        caps: Caps,
        incidents: Incidents,
        clock: Clock,
        worker: Worker,
        log: FilteringBoundLogger,
        *,
        page_rows: int,
        log_failures: bool,
        kept_requests: Callable[[], Kept],
        published: Callable[[], None],
    ) -> None:
        self.ledger = ledger
        self.progress = ledger.progress
        self.later = Changes()
        """Counts that wait for the next commit."""
        self.found = Found()
        self.durations_ms: list[int] = []
        """How long messages took to settle, as counted since the caller last took them."""
        self._statuses = Statuses(ledger.progress.statuses)
        self._caps = caps
        self._incidents = incidents
        self._clock = clock
        self._worker = worker
        self._log = log
        self._page_rows = page_rows
        self._log_failures = log_failures
        self._kept_requests = kept_requests
        self._published = published
        self._reserved = 0
        self._reserved_until_s = 0.0

    def move(self, **progress: object) -> None:
        """Change what the next commit will say of the progress."""
        self.progress = msgspec.structs.replace(self.progress, **progress)

    def advance(self, watermark_ms: int) -> None:
        """Move the watermark on, if it is behind that: what lies between and was not read is unread."""
        progress = self.progress
        if watermark_ms <= progress.watermark_ms:
            return
        passed = TimeRange(max(progress.watermark_ms, progress.begin_ms or 0), watermark_ms)
        read = [cell.range for cell in self.ledger.cells.between(passed) if cell.read_ms != NEVER_MS]
        new = TimeRanges([passed]).without(TimeRanges(read))
        self.move(unread=TimeRanges([*progress.unread, *new]), watermark_ms=watermark_ms)

    # Commits

    async def reserve(self) -> None:
        """Make durable that a request may be under way before it is: a restart then makes none too many."""
        while True:
            if not self.ledger.may_act():
                await self._wait_for_ledger(LedgerError("lease has run out, waiting for the database"))
            elif self._reserved <= 0 or self._clock.monotonic_s() > self._reserved_until_s:
                await self.commit()
            else:
                break
        self._reserved -= 1

    async def commit(self, changes: Changes | None = None) -> None:
        """Commit `changes`, what waits, and the progress; on a ledger that can't be written, as soon as it can."""
        changes = changes or Changes()
        changes.merge(self.later)
        self.later = Changes()
        while True:
            kept = self._kept_requests()
            reserved_until_s = kept.monotonic_s + RESERVED_FOR_S
            reserved = (reserved_until_s,) * RESERVED_REQUESTS
            self.move(
                requests=msgspec.structs.replace(kept, times=kept.times + reserved),
                statuses=tuple(self._statuses.names),
            )
            changes.progress = self.progress
            try:
                await self._worker.run(lambda: self.ledger.commit(changes))
            except LedgerError as error:
                await self._wait_for_ledger(error)
                continue
            self._reserved, self._reserved_until_s = RESERVED_REQUESTS, reserved_until_s
            self._incidents.ended("state")
            self._published()
            return

    async def _look(self, look: Callable[[], T]) -> T:
        """What `look` finds in the ledger; in one that can't be read, as soon as it can."""
        while True:
            try:
                return await self._worker.run(look)
            except LedgerError as error:
                await self._wait_for_ledger(error)

    async def _wait_for_ledger(self, error: LedgerError) -> None:
        self._incidents.began("state", str(error))
        self._published()
        await self._clock.sleep(LEDGER_RETRY_S)

    # What is known of messages

    async def known_in(self, cells: Sequence[Cell]) -> Known:
        """The messages known one by one of these cells."""
        moments = [cell.since_ms for cell in cells if not cell.final or cell.in_flight]
        found = await self._look(lambda: self.ledger.messages(moments)) if moments else {}
        return known_.join(
            Known(
                known_.decode_settled(messages.settled, since_ms),
                known_.decode_in_flight(messages.in_flight, since_ms),
            )
            for since_ms, messages in found.items()
        )

    def _cells_of(
        self, proven: TimeRange | None, records: Sequence[Record], looked: Sequence[int]
    ) -> list[Cell]:
        """The cells that have time in common with an answer or where its messages may have been, and those `looked` at."""
        cells = self.ledger.cells
        table = cells.table
        places = set(range(*cells.places(proven))) if proven is not None else set()
        for since_ms in looked:
            places.update(range(*cells.places(TimeRange(since_ms, since_ms + 1))))
        sent_ms = np.unique(np.fromiter((record.sent_ms for record in records), np.int64, len(records)))
        # A message whose sent time has moved is known in a cell nearby.
        first = np.searchsorted(table["until_ms"], sent_ms - MOVED_MS, side="right")
        last = np.searchsorted(table["since_ms"], sent_ms + MOVED_MS, side="left")
        depth = np.zeros(len(table) + 1, np.int64)
        np.add.at(depth, first, 1)
        np.add.at(depth, last, -1)
        places.update(np.flatnonzero(np.cumsum(depth)[:-1] > 0).tolist())
        if len(sent_ms):  # cells of unread time grow together: all of them around are needed
            around = range(*cells.places(TimeRange(int(sent_ms[0]), int(sent_ms[-1]) + 1)))
            unproven = table["read_ms"][around.start : around.stop] == NEVER_MS
            places.update((np.flatnonzero(unproven) + around.start).tolist())
        return [Cell(*row) for row in table[sorted(places)].tolist()]

    def _beside(self, cells: Sequence[Cell], sent_ms: NDArray[np.int64]) -> list[TimeRange]:
        """The time between these messages that cells hold which have nothing to do with the answer."""
        if not len(sent_ms):
            return []
        span = TimeRange(int(sent_ms[0]), int(sent_ms[-1]) + 1)
        loaded = {cell.since_ms for cell in cells}
        first, last = self.ledger.cells.places(span)
        table = self.ledger.cells.table[first:last]
        return [
            TimeRange(since_ms, until_ms)
            for since_ms, until_ms in table[["since_ms", "until_ms"]].tolist()
            if since_ms not in loaded
        ]

    # Answers

    async def record(self, reading: Reading) -> list[TimeRange]:
        """Count what an answer shows, and take the range that it proves off what is unread.

        Returns small ranges that must be read whole before a message in them can be counted.
        """
        asked_ms = reading.asked.earliest_ms
        records = [r for r in reading.page.records if r.sent_ms < reading.now.latest_ms + AHEAD_MS]
        cells = self._cells_of(reading.proven, records, reading.looked)
        known = await self.known_in(cells)
        changes = Changes()
        closed = [cell for cell in cells if cell.final]
        counted = count(
            records,
            known,
            changes,
            self._caps,
            self._statuses,
            is_open=self._opens(closed, only_in_flight=reading.only_in_flight),
            proven=reading.proven,
            postpones=reading.postpones,
        )
        findings = self._into_cells(changes, reading, records, cells, counted, asked_ms)
        await self._reject(changes, reading.page, reading.now.latest_ms)
        if reading.proven is not None:
            self.move(unread=self.progress.unread.remove(reading.proven))
        known_dense = any(cell.range == reading.proven and not cell.auditable for cell in cells)
        if reading.too_dense and reading.proven is not None and not known_dense:
            self._lose(changes, reading.proven.length_ms, "too_dense")
            self._log.warning(
                "a millisecond holds more messages than the API shows, counted those seen",
                sent_ms=reading.proven.since_ms,
                seen=len(records),
            )
        if records:
            last_ms = max(record.sent_ms for record in records)
            self.move(last_sent_ms=max(last_ms, self.progress.last_sent_ms or last_ms))
        self._observe_freshness(changes, reading, counted)
        await self.commit(changes)
        self._log_findings(findings)
        self._log_failed(counted.failed)
        self.found.new += len(counted.new_ms)
        self.found.settled += len(counted.settled_ms)
        self.durations_ms += counted.durations_ms
        return counted.postponed

    def _opens(
        self, closed: Sequence[Cell], *, only_in_flight: bool
    ) -> Callable[[NDArray[np.int64]], NDArray[np.bool_]]:
        """Where a message that is not known is new: in time that is held and not final."""
        begin_ms = self.progress.begin_ms
        edges_ms = [edge_ms for each in TimeRanges(cell.range for cell in closed) for edge_ms in each]

        def is_open(sent_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
            if only_in_flight or begin_ms is None:
                return np.zeros(len(sent_ms), np.bool_)
            final = np.searchsorted(edges_ms, sent_ms, side="right") % 2 == 1
            return np.asarray((sent_ms >= begin_ms) & ~final)

        return is_open

    def _into_cells(
        self,
        changes: Changes,
        reading: Reading,
        records: Sequence[Record],
        cells: Sequence[Cell],
        counted: Counted,
        asked_ms: int,
    ) -> list[Finding]:
        """Write the cells as they are after the answer. Returns what the audit has found."""
        known = ByTime(counted.known)
        shown = cache(lambda: Shown(records, self._statuses))
        after = cut(
            [part for cell in cells for part in self._divided(cell, known, reading, shown)],
            known.sent_ms,
            reading.proven,
            asked_ms,
            self._page_rows,
            beside=self._beside(cells, known.sent_ms),
            splits=not reading.head,
        )
        changes.gone |= {cell.since_ms for cell in cells} - {cell.since_ms for cell in after}
        before = {cell.since_ms: cell for cell in cells}
        final_until_ms = asked_ms - reading.final_age_ms if reading.asked.certain else 0
        touched_ms = sorted(counted.touched_ms)
        findings: list[Finding] = []
        for each in after:
            was = before.get(each.since_ms)
            same = was is not None and was.range == each.range
            touched = bisect_left(touched_ms, each.until_ms) > bisect_left(touched_ms, each.since_ms)
            changed = touched or not same
            proven = reading.proven is not None and reading.proven.covers(each.range)
            looked = each.since_ms in reading.looked
            if not (changed or proven or looked):
                continue
            inside = known.within(each.range)
            cell, finding = self._audited(each, inside, reading, shown, counted, final_until_ms)
            findings += [finding] if finding else []
            cell = _with_in_flight(cell, inside)
            if looked:
                cell = cell._replace(looked_ms=max(cell.looked_ms, asked_ms))
            if not cell.final:
                cell = cell._replace(messages=len(inside.settled) + len(inside.in_flight))
            if changed or cell.final is not each.final:
                changes.settled[cell.since_ms] = (
                    b"" if cell.final else known_.encode_settled(inside.settled, cell.since_ms)
                )
                changes.in_flight_messages[cell.since_ms] = known_.encode_in_flight(
                    inside.in_flight, cell.since_ms
                )
            changes.cells.append(cell)
        self._note_findings(changes, findings, asked_ms)
        if reading.postpones:  # else what is new was seen before
            self._note_lateness(cells, counted, asked_ms)
        return findings

    def _divided(self, cell: Cell, known: ByTime, reading: Reading, shown: Callable[[], Shown]) -> list[Cell]:
        """A final cell in parts, where the answer proves one of them."""
        proven = reading.proven
        if not cell.final or proven is None or proven.covers(cell.range):
            return [cell]
        if cell.auditable and not _audits(cell, reading):
            return [cell]
        return divide(cell, proven, shown(), known, self._statuses)

    def _audited(
        self,
        cell: Cell,
        inside: Known,
        reading: Reading,
        shown: Callable[[], Shown],
        counted: Counted,
        final_until_ms: int,
    ) -> tuple[Cell, Finding | None]:
        """The cell with its audit numbers brought up to date, and what a read of all of it has found."""
        proven = reading.proven is not None and reading.proven.covers(cell.range)
        if proven and reading.oversized:
            cell = cell._replace(auditable=False)
        if cell.final:
            cell = settle(cell, inside.settled, self._statuses)
        if not proven:
            return cell, None
        since_ms, until_ms = cell.range
        audits = _audits(cell, reading)
        if cell.final:
            return audit(cell, shown(), reading.asked.earliest_ms) if audits else (cell, None)
        if until_ms > final_until_ms or any(each.meet(cell.range).length_ms for each in counted.postponed):
            return cell, None
        recovered = sum(1 for at_ms in counted.new_ms if since_ms <= at_ms < until_ms)
        final, finding = finalize(cell, inside, shown(), self._statuses, recovered=recovered)
        return final, finding if audits else None

    def _note_findings(self, changes: Changes, findings: Sequence[Finding], now_ms: int) -> None:
        for finding in findings:
            for result, messages in finding.messages.items():
                if messages:
                    changes.add(Series.of(catalog.AUDIT.name, result=result), messages)
            if finding.messages.get("missed"):
                self.move(missed_ms=now_ms)

    def _note_lateness(self, cells: Sequence[Cell], counted: Counted, now_ms: int) -> None:
        """How old the time of a new message was when a read that proved it still lacked the message."""
        worst_ms = 0
        new_ms = np.sort(np.array(counted.new_ms, np.int64))
        for cell in cells:
            if cell.read_ms != NEVER_MS and not cell.final:
                first, last = np.searchsorted(new_ms, cell.range)
                if first < last:
                    worst_ms = max(worst_ms, cell.read_ms - int(new_ms[first]))
        recent = [
            each for each in self.progress.lateness_ms if each[0] > now_ms - DAY_MS and each[1] > worst_ms
        ]
        if worst_ms > 0:
            recent.append((now_ms, worst_ms))
        if tuple(recent) != self.progress.lateness_ms:
            self.move(lateness_ms=tuple(recent))

    def _observe_freshness(self, changes: Changes, reading: Reading, counted: Counted) -> None:
        if reading.late:
            return
        now_ms = reading.now.latest_ms
        for of, moments in (("sent", counted.new_ms), ("settled", counted.done_ms)):
            ages_ms = [max(0, now_ms - at_ms) for at_ms in moments]
            if ages_ms:
                changes.observe(
                    Series.of(catalog.FRESHNESS.name, of=of), histogram(catalog.FRESHNESS, ages_ms)
                )

    async def _reject(self, changes: Changes, page: Page, read_ms: int) -> None:
        if not page.rejected:
            return
        rows = {row.fingerprint: row for row in page.rejected}
        known = await self._look(lambda: self.ledger.known_rejected(rows))
        logged: set[str] = set()
        for fingerprint, row in rows.items():
            if fingerprint in known:
                continue
            changes.rejected[fingerprint] = read_ms
            changes.add(Series.of(catalog.REJECTED.name, reason=row.reason), 1)
            if row.reason not in logged:
                logged.add(row.reason)
                self._log.warning(
                    "row can't be counted", reason=row.reason, field=row.field, message_id=row.message_id
                )

    def _log_findings(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            if finding.messages.get("missed") or finding.messages.get("vanished"):
                self._log.error(
                    "audit found differences between the counts and the log",
                    sent_since_ms=finding.range.since_ms,
                    sent_until_ms=finding.range.until_ms,
                    **finding.messages,
                )

    def _log_failed(self, failed: Sequence[Record]) -> None:
        if not self._log_failures:
            return
        for record in failed:
            kind = record.kind
            names = dict.fromkeys(
                ("general_status", "status", "error", "permanent", *self._caps.choice.labels)
            )
            self._log.info(
                "message failed",
                message_id=record.message_id,
                **{name: LABELS[name].of(kind) for name in names},
            )

    # Time

    async def expire(self, now: Bounds, late_arrival_ms: int) -> None:
        """Report what has surely left the log: unread time is lost, messages in flight stay unresolved."""
        gone_ms = now.earliest_ms - LOG_KEEPS_MS
        progress = self.progress
        if not now.certain or progress.begin_ms is None or progress.begin_ms >= gone_ms:
            return
        self.advance(gone_ms)  # where nothing could be asked for since then
        lost = self.progress.unread.below(gone_ms)
        if lost:
            changes = Changes()
            self._lose(changes, lost.total_ms, "expired")
            self._log.warning("sent time left the log unread", seconds=lost.total_ms / 1000)
            self.move(unread=self.progress.unread.above(gone_ms))
            await self.commit(changes)
        while leaving := int(np.searchsorted(self.ledger.cells.table["until_ms"], gone_ms, side="right")):
            some = min(leaving, MOST_CELLS_AT_ONCE)
            await self._expire_cells([self.ledger.cells[place] for place in range(some)], late_arrival_ms)
        self.move(begin_ms=max(self.progress.begin_ms or 0, gone_ms))
        for cell in self.ledger.cells.between(TimeRange(gone_ms, gone_ms + 1)):
            if cell.in_flight and cell.oldest_in_flight_ms < gone_ms:
                await self._expire_part(cell, gone_ms)

    async def _expire_part(self, cell: Cell, gone_ms: int) -> None:
        """Of a cell that reaches beyond `gone_ms`, the messages in flight sent before: in a quiet hour it is a long one."""
        changes = Changes()
        inside = await self.known_in([cell])
        left = {who: message for who, message in inside.in_flight.items() if who[1] < gone_ms}
        for who, message in left.items():
            del inside.in_flight[who]
            _stays_unresolved(changes, message)
        if not cell.final:
            cell = cell._replace(messages=cell.messages - len(left))
        changes.cells.append(_with_in_flight(cell, inside))
        changes.in_flight_messages[cell.since_ms] = known_.encode_in_flight(inside.in_flight, cell.since_ms)
        await self.commit(changes)

    async def _expire_cells(self, cells: Sequence[Cell], late_arrival_ms: int) -> None:
        changes = Changes(gone={cell.since_ms for cell in cells})
        known = await self.known_in([cell for cell in cells if cell.in_flight])
        for message in known.in_flight.values():
            _stays_unresolved(changes, message)
        young = TimeRanges(
            cell.range
            for cell in cells
            if cell.read_ms != NEVER_MS and not cell.final and cell.read_ms < cell.until_ms + late_arrival_ms
        )
        self._lose(changes, young.total_ms, "expired")
        self.move(begin_ms=max(self.progress.begin_ms or 0, cells[-1].until_ms))
        await self.commit(changes)

    async def set_back(self, now: Bounds) -> None:
        """The API's clock is surely behind the watermark: the time between the two comes once more."""
        progress = self.progress
        if not now.certain or now.latest_ms >= progress.watermark_ms:
            return
        repeated = TimeRange(now.latest_ms, progress.watermark_ms)
        changes = Changes()
        lost, unread = TimeRanges(), progress.unread
        for cell in self.ledger.cells.between(TimeRange(now.latest_ms, 1 << 62)):
            if cell.final:
                lost = lost.add(cell.range.meet(repeated))
            elif cell.read_ms != NEVER_MS:
                changes.cells.append(cell._replace(read_ms=NEVER_MS, reads=0))
                unread = unread.add(cell.range)
        self._lose(changes, lost.total_ms, "clock_set_back")
        self._log.warning(
            "API clock was set back, reading the repeated time again",
            seconds=repeated.length_ms / 1000,
            lost_seconds=lost.total_ms / 1000,
        )
        begin_ms = max(progress.first_ms, min(progress.begin_ms or 0, now.latest_ms))
        unread = unread.below(now.latest_ms).above(begin_ms)
        self.move(begin_ms=begin_ms, watermark_ms=now.latest_ms, unread=unread)
        await self.commit(changes)

    async def exempt_from_audit(self) -> None:
        """What was read so far can't be held against the log any more."""
        cells = self.ledger.cells
        exempt = [cells[place]._replace(auditable=False) for place in range(len(cells))]
        await self.commit(Changes(cells=exempt))

    def prune(self, now: Bounds) -> None:
        """Let go of what no longer serves, with the next commit that comes along."""
        if now.certain:
            self.later.prune_before_ms = now.earliest_ms - LOG_KEEPS_MS - HOUR_MS

    def _lose(self, changes: Changes, lost_ms: int, reason: str) -> None:
        if lost_ms:
            changes.add(Series.of(catalog.LOST.name, reason=reason), Decimal(lost_ms).scaleb(-3))


def _stays_unresolved(changes: Changes, message: InFlight) -> None:
    changes.in_flight[in_flight_series(message)] -= 1
    changes.add(unresolved_series(message), 1)


def _audits(cell: Cell, reading: Reading) -> bool:
    """Whether an answer that shows all of the cell holds it against the log."""
    in_log = cell.since_ms > reading.now.latest_ms - LOG_KEEPS_MS + EDGE_MS
    return cell.auditable and in_log and reading.asked.certain


def _with_in_flight(cell: Cell, inside: Known) -> Cell:
    moments = [sent_ms for _, sent_ms in inside.in_flight]
    return cell._replace(in_flight=len(moments), oldest_in_flight_ms=min(moments, default=0))
