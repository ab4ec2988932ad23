"""The head of a poll: the time since the last one, in ranges that fit a page."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.audit import EDGE_MS
from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.requests import AskNow, ReadRange, Why
from infobip_exporter.planning.situation import OVERLAP_MS, USABLE, Situation


def head_requests(situation: Situation) -> list[ReadRange | AskNow]:
    """What a poll asks first, oldest first: from 3 s before the watermark to the API's now.

    Each range but the newest should fill its page: so do the cells that it leaves, when they are read again. The oldest
    one reaches back over whole cells as far as the pages have room. The newest is asked open-ended. Where the poll can't read all of this (a long gap) the
    ranges are the newest part of it. What lies between the watermark and the first of them becomes unread. Where the
    traffic leaves room for one read only, at the final age, all of it becomes unread, and the poll asks for its own moment.
    """
    end_ms = situation.latest_ms if situation.certain else situation.now_ms
    most = max(1, int(situation.requests_per_poll * USABLE))
    if situation.one_read_only and most > 1:
        return [AskNow(Why.HEAD, TimeRange(min(situation.now_ms, end_ms) - 1, end_ms))]
    times, rows = _expected(situation, end_ms)
    cuts = _full_pages(times, rows, situation.room, situation.widest_ms)
    ranges = [TimeRange(since_ms, until_ms) for since_ms, until_ms in pairwise(cuts)][-most:]
    return [ReadRange(Why.HEAD, each, open_ended=each is ranges[-1]) for each in ranges]


def _expected(situation: Situation, end_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From where to where the head reads, with the rows expected from its beginning up to each of these moments."""
    watermark_ms = min(situation.watermark_ms, end_ms)
    begin_ms = watermark_ms - OVERLAP_MS
    new_rows = situation.rows_per_s / 1000 * (end_ms - watermark_ms)
    table = situation.cells.table[: situation.cells.places(TimeRange(0, watermark_ms))[1]]
    table = table[_first_of_last_run(table, watermark_ms) :]
    since = table["since_ms"]
    back = np.cumsum(table["messages"][::-1], dtype=np.float64)[::-1]  # rows from each cell to the watermark
    overlap = float(np.interp(begin_ms, [*since, watermark_ms], [*back, 0.0])) if len(since) else 0.0
    late = max(0.0, situation.rows_per_s / 1000 * OVERLAP_MS - overlap)  # records that had not turned up yet
    back, overlap = back + late, overlap + late
    pages = max(1, math.ceil((new_rows + overlap) / situation.room - 1e-9))
    useful = (~table["final"] | (table["in_flight"] > 0)) & (since > situation.edge_ms + EDGE_MS)
    # Asked a millisecond wider, a range beside an oversized millisecond comes back full each time.
    useful[1:] &= table["messages"][:-1] < situation.page_rows
    fits = (back <= pages * situation.room - new_rows) & (end_ms - since <= situation.widest_ms * pages)
    reached = np.flatnonzero(fits & useful & (since < begin_ms))
    earlier = slice(reached[0] if len(reached) else len(since), np.searchsorted(since, begin_ms))
    times = np.concatenate((since[earlier], [begin_ms, watermark_ms, end_ms])).astype(np.float64)
    left = np.concatenate((back[earlier], [overlap, 0.0, -new_rows]))
    return times, left[0] - left


def _first_of_last_run(table: NDArray[np.void], watermark_ms: int) -> int:
    """The place from which on the cells touch each other, up to what the head reads anyway."""
    if len(table) == 0 or table["until_ms"][-1] < watermark_ms - OVERLAP_MS:
        return len(table)
    gaps = np.flatnonzero(table["until_ms"][:-1] != table["since_ms"][1:])
    return int(gaps[-1]) + 1 if len(gaps) else 0


def _full_pages(
    times: NDArray[np.float64], rows: NDArray[np.float64], room: float, widest_ms: int
) -> list[int]:
    """The cuts that make ranges of `room` rows, the last one of what is left over; none is wider than `widest_ms`."""
    pages = max(1, math.ceil(float(rows[-1]) / room - 1e-9))
    steps = np.interp(room * np.arange(1, pages), rows, times)
    edges = np.unique(np.round(np.concatenate((times[:1], steps, times[-1:]))).astype(np.int64))
    cuts: list[int] = []
    for since, until in pairwise(edges.tolist()):
        parts = math.ceil((until - since) / widest_ms)
        cuts += [since + (until - since) * part // parts for part in range(parts)]
    return [*cuts, round(float(times[-1]))]
