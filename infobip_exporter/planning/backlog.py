"""Unread time, in ranges that should fill a page."""

import numpy as np

from infobip_exporter.model.cells import NEVER_MS, Cells
from infobip_exporter.model.time_range import TimeRange, TimeRanges
from infobip_exporter.planning.situation import OVERLAP_MS, Situation

NEIGHBOURS = 6
"""The traffic around is told by so many cells (one does as well for a backlog of 6 h at 100/s, 1.08 times the fewest
requests, and in tenfold bursts)."""


def newest_unread(situation: Situation, unread: TimeRanges) -> TimeRange | None:
    """The newest page of `unread`."""
    if not unread:
        return None
    last = unread.ranges[-1]
    since_ms = last.until_ms - page_ms(situation, last.until_ms)
    if since_ms <= last.since_ms:
        since_ms = max(_begin(situation, last), last.until_ms - situation.widest_ms)
    return TimeRange(since_ms, last.until_ms)


def oldest_unread(situation: Situation, unread: TimeRanges) -> TimeRange | None:
    """The oldest page of `unread`."""
    if not unread:
        return None
    first = unread.ranges[0]
    begin_ms = _begin(situation, first)
    until_ms = first.since_ms + min(page_ms(situation, first.since_ms), situation.widest_ms)
    return TimeRange(max(begin_ms, until_ms - situation.widest_ms), min(first.until_ms, until_ms))


def _begin(situation: Situation, unread: TimeRange) -> int:
    """Where to begin: 3 s earlier where the time before was read so soon that records had not turned up yet.

    The next head reads these again; this is for a head that did not come so far in its poll.
    """
    begin_ms = unread.since_ms
    for cell in reversed(situation.cells.between(TimeRange(begin_ms - OVERLAP_MS, begin_ms))):
        if cell.until_ms != begin_ms or not NEVER_MS < cell.read_ms < unread.since_ms + OVERLAP_MS:
            break
        begin_ms = max(cell.since_ms, unread.since_ms - OVERLAP_MS)
    return begin_ms


def page_ms(situation: Situation, moment_ms: int) -> int:
    """How long a range should be to fill a page, by the cells that were read nearest to `moment_ms`."""
    near = _nearest(situation.cells, moment_ms)
    length_ms = sum(until_ms - since_ms for since_ms, until_ms, _ in near)
    if length_ms == 0:
        rows, length_ms = situation.rows_per_s * situation.interval_s, round(situation.interval_s * 1000)
    else:
        rows = sum(messages for _, _, messages in near)
    return max(1, min(situation.widest_ms, int(length_ms * situation.room / max(rows, 1))))


def _nearest(cells: Cells, moment_ms: int) -> list[tuple[int, int, int]]:
    """Beginning, end and messages of some cells on that side of the moment where they are nearer."""
    place = int(np.searchsorted(cells.table["since_ms"], moment_ms))
    sides = cells.table[place : place + NEIGHBOURS], cells.table[max(0, place - NEIGHBOURS) : place][::-1]
    known = [
        [(since, until, messages) for since, until, messages, read in side.tolist() if read != NEVER_MS]
        for side in (side[["since_ms", "until_ms", "messages", "read_ms"]] for side in sides)
    ]
    after, before = known
    if after and before:
        return after if after[0][0] - moment_ms <= moment_ms - before[0][1] else before
    return after or before
