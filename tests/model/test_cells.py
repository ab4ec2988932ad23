"""Cells: a table that is replaced, never changed."""

from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.model.cells import Cell, Cells
from infobip_exporter.model.time_range import TimeRange

moments = st.integers(0, 30)


@given(st.sets(moments), st.sets(moments), st.sets(moments))
def test_replaced_cells_are_gone_and_new_ones_there(before: set[int], gone: set[int], new: set[int]) -> None:
    cells = Cells(Cell(10 * since, 10 * since + 10, messages=1) for since in before)
    after = cells.replaced(
        [10 * since for since in gone], [Cell(10 * s, 10 * s + 10, messages=2) for s in new]
    )
    expected = dict.fromkeys(before - gone, 1) | dict.fromkeys(new, 2)
    assert [(cell.since_ms // 10, cell.messages) for cell in after.between(TimeRange(0, 1000))] == sorted(
        expected.items()
    )
    assert len(cells) == len(before)


CELLS = Cells([Cell(20, 30), Cell(0, 10), Cell(10, 20, ids=2**64 - 1)])


def test_cells_are_found_by_the_time_they_share() -> None:
    assert CELLS.between(TimeRange(9, 20)) == [Cell(0, 10), Cell(10, 20, ids=2**64 - 1)]
    assert CELLS.places(TimeRange(10, 10)) == (1, 1)
    assert CELLS.places(TimeRange(30, 40)) == (3, 3)


def test_cells_are_replaced_by_those_that_begin_where_they_do() -> None:
    after = CELLS.replaced([20], [Cell(10, 15), Cell(15, 20, messages=3)])
    assert [after[place] for place in range(len(after))] == [
        Cell(0, 10),
        Cell(10, 15),
        Cell(15, 20, messages=3),
    ]
    assert len(CELLS) == 3
