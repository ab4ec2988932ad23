"""The cells of a feed as a table."""

from infobip_exporter.model.cells import Cell, Cells
from infobip_exporter.model.time_range import TimeRange

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
