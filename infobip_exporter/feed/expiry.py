"""Time that leaves the log, or comes once more."""

from collections.abc import Sequence

import numpy as np

from infobip_exporter.counting import known as known_
from infobip_exporter.counting.cells_after import with_in_flight
from infobip_exporter.counting.known import InFlight
from infobip_exporter.counting.tally import in_flight_series, unresolved_series
from infobip_exporter.feed.writer import Writer, lose
from infobip_exporter.infobip.clock import Bounds
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.model.cells import NEVER_MS, Cell
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import TimeRange, TimeRanges

MOST_CELLS_AT_ONCE = 2000


async def expire(writer: Writer, now: Bounds, late_arrival_ms: int) -> None:
    """Report what has surely left the log: unread time is lost, messages in flight stay unresolved."""
    gone_ms = now.earliest_ms - LOG_KEEPS_MS
    progress = writer.progress
    if not now.certain or progress.begin_ms is None or progress.begin_ms >= gone_ms:
        return
    writer.advance(gone_ms)  # where nothing could be asked for since then
    lost = writer.progress.unread.below(gone_ms)
    if lost:
        changes = Changes()
        lose(changes, lost.total_ms, "expired")
        writer.log.warning("sent time left the log unread", seconds=lost.total_ms / 1000)
        writer.move(unread=writer.progress.unread.above(gone_ms))
        await writer.commit(changes)
    while leaving := int(np.searchsorted(writer.ledger.cells.table["until_ms"], gone_ms, side="right")):
        some = min(leaving, MOST_CELLS_AT_ONCE)
        await _expire_cells(writer, [writer.ledger.cells[place] for place in range(some)], late_arrival_ms)
    writer.move(begin_ms=max(writer.progress.begin_ms or 0, gone_ms))
    for cell in writer.ledger.cells.between(TimeRange(gone_ms, gone_ms + 1)):
        if cell.in_flight and cell.oldest_in_flight_ms < gone_ms:
            await _expire_part(writer, cell, gone_ms)


async def _expire_part(writer: Writer, cell: Cell, gone_ms: int) -> None:
    """Of a cell that reaches beyond `gone_ms`, the messages in flight sent before: in a quiet hour it is a long one."""
    changes = Changes()
    inside = await writer.known_in([cell])
    left = {who: message for who, message in inside.in_flight.items() if who[1] < gone_ms}
    for who, message in left.items():
        del inside.in_flight[who]
        _stays_unresolved(changes, message)
    if not cell.final:
        cell = cell._replace(messages=cell.messages - len(left))
    changes.cells.append(with_in_flight(cell, inside))
    changes.in_flight_messages[cell.since_ms] = known_.encode_in_flight(inside.in_flight, cell.since_ms)
    await writer.commit(changes)


async def _expire_cells(writer: Writer, cells: Sequence[Cell], late_arrival_ms: int) -> None:
    changes = Changes(gone={cell.since_ms for cell in cells})
    known = await writer.known_in([cell for cell in cells if cell.in_flight])
    for message in known.in_flight.values():
        _stays_unresolved(changes, message)
    young = TimeRanges(
        cell.range
        for cell in cells
        if cell.read_ms != NEVER_MS and not cell.final and cell.read_ms < cell.until_ms + late_arrival_ms
    )
    lose(changes, young.total_ms, "expired")
    writer.move(begin_ms=max(writer.progress.begin_ms or 0, cells[-1].until_ms))
    await writer.commit(changes)


async def set_back(writer: Writer, now: Bounds) -> None:
    """The API's clock is surely behind the watermark: the time between the two comes once more."""
    progress = writer.progress
    if not now.certain or now.latest_ms >= progress.watermark_ms:
        return
    repeated = TimeRange(now.latest_ms, progress.watermark_ms)
    changes = Changes()
    lost, unread = TimeRanges(), progress.unread
    for cell in writer.ledger.cells.between(TimeRange(now.latest_ms, 1 << 62)):
        if cell.final:
            lost = lost.add(cell.range.meet(repeated))
        elif cell.read_ms != NEVER_MS:
            changes.cells.append(cell._replace(read_ms=NEVER_MS, reads=0))
            unread = unread.add(cell.range)
    lose(changes, lost.total_ms, "clock_set_back")
    writer.log.warning(
        "API clock was set back, reading the repeated time again",
        seconds=repeated.length_ms / 1000,
        lost_seconds=lost.total_ms / 1000,
    )
    begin_ms = max(progress.first_ms, min(progress.begin_ms or 0, now.latest_ms))
    unread = unread.below(now.latest_ms).above(begin_ms)
    writer.move(begin_ms=begin_ms, watermark_ms=now.latest_ms, unread=unread)
    await writer.commit(changes)


async def exempt_from_audit(writer: Writer) -> None:
    """What was read so far can't be held against the log any more."""
    cells = writer.ledger.cells
    exempt = [cells[place]._replace(auditable=False) for place in range(len(cells))]
    await writer.commit(Changes(cells=exempt))


def _stays_unresolved(changes: Changes, message: InFlight) -> None:
    changes.in_flight[in_flight_series(message)] -= 1
    changes.add(unresolved_series(message), 1)
