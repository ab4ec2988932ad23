"""Cells after an answer: disjoint, and of all the time that was read."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.counting.cut import cut
from infobip_exporter.model.cells import NEVER_MS, Cell
from infobip_exporter.model.time_range import TimeRange, TimeRanges

RANGES = st.tuples(st.integers(0, 199), st.integers(1, 60)).map(lambda each: TimeRange(each[0], sum(each)))
STEPS = st.lists(st.tuples(st.none() | RANGES, st.lists(st.integers(0, 259), max_size=12)), max_size=8)


@given(STEPS)
def test_cells_stay_disjoint_cover_what_was_proven_and_hold_every_message(
    steps: list[tuple[TimeRange | None, list[int]]],
) -> None:
    cells: list[Cell] = []
    known: list[int] = []
    read = TimeRanges()
    for asked_ms, (proven, sent_ms) in enumerate(steps, start=1000):
        known = sorted([*known, *sent_ms])
        cells = cut(cells, np.array(known, np.int64), proven, asked_ms, page_rows=4)
        read = read.add(proven) if proven else read
        assert all(before.until_ms <= after.since_ms for before, after in pairwise(cells))
        assert TimeRanges(cell.range for cell in cells if cell.read_ms != NEVER_MS) == read
        assert all(sum(cell.range.holds(moment) for cell in cells) == 1 for moment in known)
