"""What an answer leaves of the cells: which there are, what is kept of them, and what the audit has found."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from infobip_exporter.counting.audit import EDGE_MS, Finding, Shown, audit, divide, finalize, settle
from infobip_exporter.counting.count import Counted
from infobip_exporter.counting.cut import cut
from infobip_exporter.counting.known import ByTime, Known, encode_in_flight, encode_settled, is_in
from infobip_exporter.counting.rows import Rows
from infobip_exporter.counting.statuses import Statuses
from infobip_exporter.infobip.clock import Bounds
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.record import Page
from infobip_exporter.model.time_range import TimeRange


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer to be recorded.

    `proven` is the range that it has shown completely, None if it proves nothing. `asked` bounds the API's now when it
    was asked for, `now` when it had arrived. `final_age_ms` is the age from which it makes cells final. `late`: its
    messages come from a backlog, their freshness is not the exporter's. `head`: what it has of cells before the
    watermark is an overlap. `too_dense`: the API can't show all of it. `only_in_flight`: only messages
    that are in flight matter. `looked` are cells of which all messages in flight were asked for. `postpones` and
    `readable` as in `count`.
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
    readable: Callable[[TimeRange], bool] = lambda _: True
    audits: bool = True
    """False where an answer to a later question was recorded before: it may know more."""


def write_cells(
    changes: Changes,
    reading: Reading,
    rows: Rows,
    counted: Counted,
    known_before: Known,
    cells: Sequence[Cell],
    statuses: Statuses,
    *,
    beside: Iterable[TimeRange],
    page_rows: int,
) -> list[Finding]:
    """Write `cells` as they are after the answer into `changes`. Returns what the audit has found.

    `cells` are those that have to do with the answer, `known_before` and `counted.known` their messages before and after;
    `beside` as in `cut`. A page holds `page_rows`.
    """
    after = _After(reading, rows, counted, known_before, statuses)
    return after.write(changes, cells, beside, page_rows)


class _After:
    def __init__(
        self, reading: Reading, rows: Rows, counted: Counted, known_before: Known, statuses: Statuses
    ) -> None:
        self._reading = reading
        self._rows = rows
        self._counted = counted
        self._known = ByTime(counted.known)
        self._known_before = known_before
        self._statuses = statuses
        self._asked_ms = reading.asked.earliest_ms

    @cached_property
    def _shown(self) -> Shown:
        return Shown(self._rows, self._statuses)

    @cached_property
    def _new_settled(self) -> ByTime:
        """The messages that have settled by this answer."""
        before, settled = np.sort(self._known_before.settled["key"]), self._counted.known.settled
        return ByTime(Known(settled[~is_in(before, settled["key"])]))

    def write(
        self, changes: Changes, cells: Sequence[Cell], beside: Iterable[TimeRange], page_rows: int
    ) -> list[Finding]:
        after = cut(
            [part for cell in cells for part in self._divided(cell)],
            self._known.sent_ms,
            self._reading.proven,
            self._asked_ms,
            page_rows,
            beside=beside,
            splits=not self._reading.head,
        )
        before = {cell.since_ms: cell for cell in cells}
        changes.gone |= before.keys() - {cell.since_ms for cell in after}
        touched_ms = self._counted.touched_ms.tolist()
        findings: list[Finding] = []
        for cell in after:
            was = before.get(cell.since_ms)
            same = was is not None and was.range == cell.range
            touched = bisect_left(touched_ms, cell.until_ms) > bisect_left(touched_ms, cell.since_ms)
            changed = touched or not same
            if changed or self._proves(cell) or cell.since_ms in self._reading.looked:
                findings += self._write(changes, cell, changed=changed)
        return findings

    def _write(self, changes: Changes, before: Cell, *, changed: bool) -> list[Finding]:
        """Write one cell; its messages as well, where they have `changed` or the cell has become final."""
        inside = self._known.within(before.range)
        cell, finding = self._audited(before, inside)
        cell = with_in_flight(cell, inside)
        if cell.since_ms in self._reading.looked:
            cell = cell._replace(looked_ms=max(cell.looked_ms, self._asked_ms))
        if not cell.final:
            cell = cell._replace(messages=len(inside.settled) + len(inside.in_flight))
        if changed or cell.final is not before.final:
            # Of a final cell those that the log lacks: they may have moved into one that is not final.
            in_log = self._rows.show(inside.settled["key"])
            kept = inside.settled[~in_log] if cell.final else inside.settled
            changes.settled[cell.since_ms] = encode_settled(kept, cell.since_ms)
            changes.in_flight_messages[cell.since_ms] = encode_in_flight(inside.in_flight, cell.since_ms)
        changes.cells.append(cell)
        return [finding] if finding else []

    def _divided(self, cell: Cell) -> list[Cell]:
        """A final cell in parts, where the answer proves one of them."""
        proven = self._reading.proven
        if not cell.final or proven is None or proven.covers(cell.range):
            return [cell]
        if cell.auditable and not self._audits(cell):
            return [cell]
        return divide(cell, proven, self._shown, self._new_settled, self._statuses)

    def _audited(self, cell: Cell, inside: Known) -> tuple[Cell, Finding | None]:
        """The cell as final, or held against the log, and what a read of all of it has found."""
        if cell.final:
            cell = settle(cell, self._new_settled.within(cell.range).settled, self._statuses)
        if not self._proves(cell):
            return cell, None
        if self._reading.oversized:
            cell = cell._replace(auditable=False)
        if self._reading.too_dense:
            cell = cell._replace(reads=0)
        audits = self._audits(cell)
        if cell.final:
            return audit(cell, inside, self._shown, self._asked_ms) if audits else (cell, None)
        final_until_ms = self._asked_ms - self._reading.final_age_ms if self._reading.asked.certain else 0
        postponed = any(each.meet(cell.range).length_ms for each in self._counted.postponed)
        if cell.until_ms > final_until_ms or postponed:
            return cell, None
        recovered = int(np.diff(np.searchsorted(self._counted.new_ms, cell.range))[0])
        final, finding = finalize(cell, inside, self._shown, self._statuses, recovered=recovered)
        return final, finding if audits else None

    def _proves(self, cell: Cell) -> bool:
        proven = self._reading.proven
        return proven is not None and proven.covers(cell.range)

    def _audits(self, cell: Cell) -> bool:
        """Whether an answer that shows all of the cell holds it against the log."""
        in_log = cell.since_ms > self._reading.now.latest_ms - LOG_KEEPS_MS + EDGE_MS
        return cell.auditable and in_log and self._reading.asked.certain and self._reading.audits


def with_in_flight(cell: Cell, inside: Known) -> Cell:
    """The cell with what is known of its messages in flight."""
    moments = [sent_ms for _, sent_ms in inside.in_flight]
    return cell._replace(in_flight=len(moments), oldest_in_flight_ms=min(moments, default=0))
