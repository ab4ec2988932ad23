"""The head of a poll: the time since the last one, in ranges that fit a page."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.audit import EDGE_MS
from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.requests import ReadRange, Why
from infobip_exporter.planning.situation import USABLE, Situation

OVERLAP_MS = 3000
"""How far behind the watermark the head begins: records were seen to turn up in the log within 2 s."""


def head_ranges(situation: Situation) -> list[ReadRange]:
    """What a poll reads first, oldest first: from 3 s before the watermark to the API's now.

    The ranges are cut to have the same number of rows. The oldest one reaches back as far as its page has room, over
    whole cells. The newest is asked open-ended. Where the poll can't read all of this (a long gap, or traffic that
    leaves room for one read only, at the final age) the ranges are the newest part of it. What lies between the
    watermark and the first of them becomes unread.
    """
    end_ms = situation.latest_ms if situation.certain else situation.now_ms
    most = max(1, int(situation.requests_per_poll * USABLE))
    if situation.one_read_only and most > 1:
        begin_ms = min(situation.now_ms, end_ms) - 1
        times, rows = np.array([begin_ms, end_ms], dtype=np.float64), np.zeros(2)
    else:
        times, rows = _expected(situation, end_ms)
    pieces = max(1, math.ceil(float(rows[-1]) / situation.room - 1e-9))
    pieces = max(pieces, math.ceil((end_ms - float(times[0])) / situation.widest_ms))
    cuts = _equal(times, rows, pieces, situation.widest_ms)
    ranges = [TimeRange(since_ms, until_ms) for since_ms, until_ms in pairwise(cuts)][-most:]
    return [ReadRange(Why.HEAD, each, open_ended=each is ranges[-1]) for each in ranges]


def _expected(situation: Situation, end_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From where to where the head reads, with the rows expected from its beginning up to each of these moments."""
    watermark_ms = min(situation.watermark_ms, end_ms)
    begin_ms = watermark_ms - OVERLAP_MS
    new_rows = situation.rows_per_s / 1000 * (end_ms - watermark_ms)
    table = situation.cells.table[: situation.cells.places(TimeRange(0, watermark_ms))[1]]
    first = _first_of_last_run(table, watermark_ms)
    since = table["since_ms"][first:]
    back = np.cumsum(table["messages"][first:][::-1], dtype=np.float64)[::-1]
    edges = np.append(since, watermark_ms).astype(np.float64)
    counts = np.append(back, 0.0)  # rows from each edge to the watermark
    overlap = float(np.interp(begin_ms, edges, counts)) if len(since) else 0.0
    pages = max(1, math.ceil((new_rows + overlap) / situation.room - 1e-9))
    room = pages * situation.room - new_rows
    useful = (~table["final"][first:] | (table["in_flight"][first:] > 0)) & (
        since > situation.edge_ms + EDGE_MS
    )
    # Asked a millisecond wider, a range beside an oversized millisecond comes back full each time.
    useful[1:] &= table["messages"][first:-1] < situation.page_rows
    fits = (back <= room) & (end_ms - since <= situation.widest_ms * pages)
    reached = np.flatnonzero(fits & useful)
    if len(reached) and since[reached[0]] < begin_ms:
        begin_ms = int(since[reached[0]])
    kept = edges > begin_ms
    times = np.concatenate(([begin_ms], edges[kept], [end_ms] if end_ms > watermark_ms else []))
    left = np.concatenate(
        ([np.interp(begin_ms, edges, counts)], counts[kept], [-new_rows] if end_ms > watermark_ms else [])
    )
    return times, left[0] - left


def _first_of_last_run(table: NDArray[np.void], watermark_ms: int) -> int:
    """The place from which on the cells touch each other, up to what the head reads anyway."""
    if len(table) == 0 or table["until_ms"][-1] < watermark_ms - OVERLAP_MS:
        return len(table)
    gaps = np.flatnonzero(table["until_ms"][:-1] != table["since_ms"][1:])
    return int(gaps[-1]) + 1 if len(gaps) else 0


def _equal(times: NDArray[np.float64], rows: NDArray[np.float64], pieces: int, widest_ms: int) -> list[int]:
    """The cuts that make `pieces` ranges of as many rows each, none wider than `widest_ms`."""
    if rows[-1] > 0:
        steps = np.interp(np.linspace(0, rows[-1], pieces + 1), rows, times)
    else:
        steps = np.linspace(times[0], times[-1], pieces + 1)
    steps[0], steps[-1] = times[0], times[-1]
    cuts: list[int] = []
    for since, until in pairwise(np.unique(np.round(steps).astype(np.int64)).tolist()):
        parts = math.ceil((until - since) / widest_ms)
        cuts += [since + (until - since) * part // parts for part in range(parts)]
    return [*cuts, round(float(times[-1]))]
