"""Cells after an answer: disjoint, and of all the time that was read."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.counting.cut import cut
from infobip_exporter.model.cells import NEVER_MS, Cell
from infobip_exporter.model.time_range import TimeRange, TimeRanges

RANGES = st.tuples(st.integers(0, 199), st.integers(1, 60)).map(lambda each: TimeRange(each[0], sum(each)))
STEPS = st.lists(
    st.tuples(st.none() | RANGES, st.lists(st.integers(0, 259), max_size=12), st.booleans()), max_size=8
)


@given(STEPS)
def test_cells_stay_disjoint_cover_what_was_proven_and_hold_every_message(
    steps: list[tuple[TimeRange | None, list[int], bool]],
) -> None:
    cells: list[Cell] = []
    known: list[int] = []
    read = TimeRanges()
    for asked_ms, (proven, sent_ms, splits) in enumerate(steps, start=1000):
        known = sorted([*known, *sent_ms])
        cells = cut(cells, np.array(known, np.int64), proven, asked_ms, page_rows=4, splits=splits)
        read = read.add(proven) if proven else read
        assert all(before.until_ms <= after.since_ms for before, after in pairwise(cells))
        assert TimeRanges(cell.range for cell in cells if cell.read_ms != NEVER_MS) == read
        assert all(sum(cell.range.holds(moment) for cell in cells) == 1 for moment in known)


def ranges(cells: list[Cell]) -> list[tuple[int, int]]:
    return [tuple(cell.range) for cell in cells]


def test_the_last_part_of_a_page_and_new_time_that_fills_it_become_one_cell() -> None:
    sent_ms = np.arange(0, 100_000, 100)  # ten a second
    before = [Cell(0, 30_000, messages=300, read_ms=30_000, reads=1)]
    after = cut(before, sent_ms[:930], TimeRange(0, 93_000), 93_000, page_rows=1000)
    assert ranges(after) == [(0, 93_000)]
    assert after[0].reads == 1


def test_cells_that_together_fill_half_a_page_stay_apart() -> None:
    sent_ms = np.arange(0, 100_000, 100)
    before = [Cell(0, 30_000, messages=300, read_ms=30_000, reads=1)]
    after = cut(before, sent_ms[:600], TimeRange(0, 60_000), 60_000, page_rows=1000)
    assert ranges(after) == [(0, 30_000), (30_000, 60_000)]


def test_the_overlap_of_a_head_leaves_the_last_cell_whole_and_not_read_again() -> None:
    sent_ms = np.arange(0, 60_000, 100)
    before = [Cell(0, 30_000, messages=300, read_ms=30_000, reads=1)]
    after = cut(before, sent_ms, TimeRange(27_000, 60_000), 60_000, page_rows=1000, splits=False)
    assert ranges(after) == [(0, 30_000), (30_000, 60_000)]
    assert after[0].read_ms == 30_000
