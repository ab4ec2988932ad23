"""From an answer to the ledger: one commit for each page, whole or not at all."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from structlog.typing import FilteringBoundLogger

from infobip_exporter.counting.audit import Finding
from infobip_exporter.counting.caps import Caps
from infobip_exporter.counting.cells_after import Reading, write_cells
from infobip_exporter.counting.count import Counted, count
from infobip_exporter.counting.durations import histogram
from infobip_exporter.counting.known import Known
from infobip_exporter.counting.moved import MOVED_MS
from infobip_exporter.counting.rows import Rows
from infobip_exporter.feed.clock import Clock, Worker
from infobip_exporter.feed.incidents import Incidents
from infobip_exporter.feed.writer import Writer, lose
from infobip_exporter.infobip.rate_limit import Kept
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics import catalog
from infobip_exporter.model.cells import NEVER_MS, Cell
from infobip_exporter.model.labels import LABELS
from infobip_exporter.model.record import Page, Record
from infobip_exporter.model.series import Series
from infobip_exporter.model.time_range import DAY_MS, HOUR_MS, TimeRange, TimeRanges

AHEAD_MS = HOUR_MS
"""Records stamped further ahead of the API's now than this are not counted before their time has come."""


@dataclass(slots=True)
class Found:
    """What a poll has found, in messages."""

    new: int = 0
    settled: int = 0
    head_new: int = 0
    """Those of the new ones that the head showed."""


class Recorder(Writer):
    """Counts what answers show. `page_rows` is the most that an answer holds, `log_failures` as in the configuration."""

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
        super().__init__(
            ledger, incidents, clock, worker, log, kept_requests=kept_requests, published=published
        )
        self.found = Found()
        self.durations_ms = np.empty(0, np.int64)
        """How long messages took to settle, as counted since the caller last took them."""
        self._caps = caps
        self._page_rows = page_rows
        self._log_failures = log_failures

    # The cells of an answer

    def _cells_of(
        self, proven: TimeRange | None, sent_ms: NDArray[np.int64], looked: Sequence[int]
    ) -> list[Cell]:
        """The cells that have time in common with an answer or where its messages may have been, and those `looked` at.

        `sent_ms` are the sent times of its messages, in order.
        """
        cells = self.ledger.cells
        table = cells.table
        places = set(range(*cells.places(proven))) if proven is not None else set()
        for since_ms in looked:
            places.update(range(*cells.places(TimeRange(since_ms, since_ms + 1))))
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

    def _beside(self, cells: Sequence[Cell], known: Known) -> list[TimeRange]:
        """The time between these messages that cells hold which have nothing to do with the answer."""
        span = known.span
        if span is None:
            return []
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
        ahead_ms = reading.now.latest_ms + AHEAD_MS
        shown = reading.page.records
        rows = Rows(shown.where(shown.sent_ms < ahead_ms))
        sent_ms = np.sort(rows.records.sent_ms)
        cells = self._cells_of(reading.proven, sent_ms, reading.looked)
        known = await self.known_in(cells)
        changes = Changes()
        closed = [cell for cell in cells if cell.final]
        counted = count(
            rows,
            known,
            changes,
            self._caps,
            self.statuses,
            is_open=self._opens(closed, only_in_flight=reading.only_in_flight),
            proven=reading.proven,
            postpones=reading.postpones,
            readable=reading.readable,
        )
        findings = write_cells(
            changes,
            reading,
            rows,
            counted,
            known,
            cells,
            self.statuses,
            beside=self._beside(cells, counted.known),
            page_rows=self._page_rows,
        )
        self._note_findings(changes, findings, asked_ms)
        if reading.postpones:  # else what is new was seen before
            self._note_lateness(cells, counted, asked_ms)
        await self._reject(changes, reading.page, reading.now.latest_ms)
        if reading.proven is not None:
            self.move(unread=self.progress.unread.remove(reading.proven))
        self._lose_dense(changes, reading, cells, len(rows.records))
        if len(sent_ms):
            last_ms = int(sent_ms[-1])
            self.move(last_sent_ms=max(last_ms, self.progress.last_sent_ms or last_ms))
        self._observe_freshness(changes, reading, counted)
        await self.commit(changes)
        self._log_findings(findings)
        if self._log_failures:
            self._log_failed(rows.records[number] for number in counted.failed.tolist())
        self.found.new += len(counted.new_ms)
        self.found.settled += counted.settled
        self.found.head_new += len(counted.new_ms) if reading.head else 0
        self.durations_ms = np.append(self.durations_ms, counted.durations_ms)
        return counted.postponed

    def _lose_dense(self, changes: Changes, reading: Reading, cells: Sequence[Cell], seen: int) -> None:
        """Report a millisecond of which the API can't show all, unless it was reported before."""
        dense = reading.proven
        if not reading.too_dense or dense is None:
            return
        if any(cell.range == dense and not cell.auditable and not cell.reads for cell in cells):
            return
        lose(changes, dense.length_ms, "too_dense")
        self.log.warning(
            "a millisecond holds more messages than the API shows, counted those seen",
            sent_ms=dense.since_ms,
            seen=seen,
        )

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
        for cell in cells:
            if cell.read_ms != NEVER_MS and not cell.final:
                first, last = np.searchsorted(counted.new_ms, cell.range)
                if first < last:
                    worst_ms = max(worst_ms, cell.read_ms - int(counted.new_ms[first]))
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
            ages_ms = np.maximum(0, now_ms - moments)
            if len(ages_ms):
                changes.observe(
                    Series.of(catalog.FRESHNESS.name, of=of), histogram(catalog.FRESHNESS, ages_ms)
                )

    async def _reject(self, changes: Changes, page: Page, read_ms: int) -> None:
        if not page.rejected:
            return
        rows = {row.fingerprint: row for row in page.rejected}
        known = await self.look(lambda: self.ledger.known_rejected(rows))
        logged: set[str] = set()
        for fingerprint, row in rows.items():
            if fingerprint in known:
                continue
            changes.rejected[fingerprint] = read_ms
            changes.add(Series.of(catalog.REJECTED.name, reason=row.reason), 1)
            if row.reason not in logged:
                logged.add(row.reason)
                self.log.warning(
                    "row can't be counted", reason=row.reason, field=row.field, message_id=row.message_id
                )

    def _log_findings(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            if finding.messages.get("missed") or finding.messages.get("vanished"):
                self.log.error(
                    "audit found differences between the counts and the log",
                    sent_since_ms=finding.range.since_ms,
                    sent_until_ms=finding.range.until_ms,
                    **finding.messages,
                )

    def _log_failed(self, failed: Iterable[Record]) -> None:
        for record in failed:
            kind = record.kind
            names = dict.fromkeys(
                ("general_status", "status", "error", "permanent", *self._caps.choice.labels)
            )
            self.log.info(
                "message failed",
                message_id=record.message_id,
                **{name: LABELS[name].of(kind) for name in names},
            )
