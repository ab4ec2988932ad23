"""Which cells a read leaves: time that was proven becomes cells of at most a page, small neighbours become one."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.model.cells import NEVER_MS, Cell
from infobip_exporter.model.time_range import TimeRange, TimeRanges

SMALL = 0.23
"""Neighbours that hold no more than this part of a page together become one cell: a quiet account would keep one for
every poll, 5,760 in 48 h. Four such cells fill a planned page, 93 % of a full one."""
NEARLY_FULL = 0.85
"""So do neighbours that together have more than this part of a page: at 100 a second the last cell of a poll, a part of
a page, and the first of the next one. Whole pages again cost a fifth less than pages that are three quarters full."""
SHORT_MS = 300_000
"""Cells are not joined beyond this: a cell becomes final as a whole, and all its messages count as of its middle age."""


def cut(
    cells: Sequence[Cell],
    sent_ms: NDArray[np.int64],
    proven: TimeRange | None,
    asked_ms: int,
    page_rows: int,
    beside: Iterable[TimeRange] = (),
    *,
    splits: bool = True,
) -> list[Cell]:
    """The cells after an answer, with their counts still open.

    `cells` are those that have time in common with the answer, `sent_ms` the sent times of all messages known in them
    and in the answer, sorted. `proven` is the range that the answer, asked for at `asked_ms`, has shown completely.
    `beside` is time between these messages that other cells hold. Unless it `splits` cells, one of which only a part was
    proven stays whole, and counts as not read.
    """
    kept = [cell for cell in cells if cell.read_ms != NEVER_MS]
    unproven = [cell for cell in cells if cell.read_ms == NEVER_MS]
    made: list[Cell] = []
    if proven is not None:
        made += _proven(proven, kept, sent_ms, asked_ms, page_rows)
        kept = [piece for cell in kept for piece in _at_edges(cell, proven)] if splits else kept
        kept = [_read_again(cell, proven, asked_ms) for cell in kept]
    held = [*(cell.range for cell in kept), *beside, *([proven] if proven else [])]
    made += _unproven(unproven, TimeRanges(held), sent_ms)
    exempt = TimeRanges(cell.range for cell in unproven if not cell.auditable)
    if exempt:  # what they hold can not be held against the log
        made = [cell._replace(auditable=not exempt.meet(cell.range)) for cell in made]
    return _joined(sorted([*kept, *made]), sent_ms, proven, page_rows)


def _proven(
    proven: TimeRange, kept: Iterable[Cell], sent_ms: NDArray[np.int64], asked_ms: int, page_rows: int
) -> list[Cell]:
    """New cells for the time in `proven` that has none."""
    new = TimeRanges([proven]).without(TimeRanges(cell.range for cell in kept))
    return [
        Cell(*piece, read_ms=asked_ms, looked_ms=asked_ms, reads=1)
        for each in new
        for piece in _pieces(each, sent_ms, page_rows)
    ]


def _pieces(whole: TimeRange, sent_ms: NDArray[np.int64], page_rows: int) -> list[TimeRange]:
    """`whole` in parts of at most a page."""
    first, last = np.searchsorted(sent_ms, whole)
    parts = max(1, math.ceil((last - first) / page_rows))
    cuts = {int(sent_ms[first + (last - first) * number // parts]) for number in range(1, parts)}
    edges = [whole.since_ms, *sorted(cuts - {whole.since_ms}), whole.until_ms]
    return [TimeRange(since, until) for since, until in pairwise(edges)]


def _at_edges(cell: Cell, proven: TimeRange) -> list[Cell]:
    """`cell` in two or three where only a part of it was proven. A final cell stays whole, see `audit.divide`."""
    if cell.final or not proven.meet(cell.range).length_ms:
        return [cell]
    edges = [cell.since_ms, *(e for e in proven if cell.since_ms < e < cell.until_ms), cell.until_ms]
    return [cell._replace(since_ms=since, until_ms=until) for since, until in pairwise(edges)]


def _read_again(cell: Cell, proven: TimeRange, asked_ms: int) -> Cell:
    if not proven.covers(cell.range):
        return cell
    return cell._replace(
        read_ms=max(cell.read_ms, asked_ms),
        looked_ms=max(cell.looked_ms, asked_ms),
        reads=min(cell.reads + 1, 1000),
    )


def _unproven(before: Iterable[Cell], taken: TimeRanges, sent_ms: NDArray[np.int64]) -> list[Cell]:
    """Cells for the messages that lie in no `taken` time: they were seen, and their time is still unread."""
    around = TimeRanges(cell.range for cell in before).without(taken)
    alone = _outside(sent_ms, taken)
    if len(alone):
        # One cell for each stretch between other cells: they are few, and are cut anew when their time is read.
        holes = TimeRanges([(int(alone[0]), int(alone[-1]) + 1)]).without(taken)
        for hole in holes:
            inside = alone[np.searchsorted(alone, hole.since_ms) : np.searchsorted(alone, hole.until_ms)]
            if len(inside):
                around = around.add((int(inside[0]), int(inside[-1]) + 1))
    return [Cell(*each) for each in around if np.diff(np.searchsorted(sent_ms, each))[0]]


def _outside(sent_ms: NDArray[np.int64], taken: TimeRanges) -> NDArray[np.int64]:
    inside = np.zeros(len(sent_ms), np.bool_)
    for each in taken:
        first, last = np.searchsorted(sent_ms, each)
        inside[first:last] = True
    return sent_ms[~inside]


def _joined(
    cells: Sequence[Cell], sent_ms: NDArray[np.int64], proven: TimeRange | None, page_rows: int
) -> list[Cell]:
    """The cells, neighbours that were read by this answer as one where they `_fit`."""
    joined: list[Cell] = []
    messages = 0
    edges = np.searchsorted(sent_ms, np.array([cell[:2] for cell in cells], np.int64))
    for cell, rows in zip(cells, np.diff(edges).ravel().tolist(), strict=True):
        before = joined[-1] if joined else None
        if (
            before is not None
            and proven is not None
            and proven.covers(before.range)
            and proven.covers(cell.range)
            and before.until_ms == cell.since_ms
            and before.auditable
            and cell.auditable
            and not before.final
            and not cell.final
            and _fit(messages + rows, page_rows)
            and cell.until_ms - before.since_ms <= SHORT_MS
        ):
            joined[-1] = before._replace(until_ms=cell.until_ms, reads=min(before.reads, cell.reads))
            messages += rows
        else:
            joined.append(cell)
            messages = rows
    return joined


def _fit(messages: int, page_rows: int) -> bool:
    """Whether so many messages are better in one cell than in two."""
    return messages <= SMALL * page_rows or NEARLY_FULL * page_rows <= messages < page_rows
