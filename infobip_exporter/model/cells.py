"""Cells: what is known of sent time that was read, in numbers. The messages themselves are in the ledger."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.model.time_range import TimeRange

NEVER_MS = 0
"""The `read_ms` of a cell that no answer has proven: messages were seen in it, and its time is still unread."""

COLUMNS = np.dtype(
    [
        ("since_ms", np.int64),
        ("until_ms", np.int64),
        ("messages", np.int32),
        ("in_flight", np.int32),
        ("oldest_in_flight_ms", np.int64),
        ("read_ms", np.int64),
        ("looked_ms", np.int64),
        ("reads", np.int16),
        ("final", np.bool_),
        ("audited", np.bool_),
        ("auditable", np.bool_),
        ("uncounted", np.int32),
        ("ids", np.uint64),
        ("outcomes", np.uint64),
    ]
)

_ROW = np.dtype((np.void, COLUMNS.itemsize))
"""A row as bytes: copied 20 times as fast as column by column."""


class Cell(NamedTuple):
    """A time range of at most a page. All moments are the API's time in milliseconds.

    `messages` counts the known ones, `in_flight` those of them without a final status; `oldest_in_flight_ms` is the
    sent time of the first of these (0 without one). `read_ms` is when the last answer that proved the whole cell was
    asked for, `looked_ms` when all its messages in flight were last asked for, by range or by id. `reads` counts the
    answers that proved it, from 0 again where one could not show all of an oversized millisecond. A `final` cell is not
    counted any more, but for what is in flight in it; then `ids` is the XOR of the keys of its messages and `outcomes`
    the sum of the outcomes of the settled ones, modulo 2**64. `audited` is whether the read that completes its audit was
    made. `auditable` is False where no read can prove anything about it: an oversized millisecond, time read under other
    filters. `uncounted` are the messages in flight that an audit has missed: when they settle, the outcomes differ once more.
    """

    since_ms: int
    until_ms: int
    messages: int = 0
    in_flight: int = 0
    oldest_in_flight_ms: int = 0
    read_ms: int = NEVER_MS
    looked_ms: int = 0
    reads: int = 0
    final: bool = False
    audited: bool = False
    auditable: bool = True
    uncounted: int = 0
    ids: int = 0
    outcomes: int = 0

    @property
    def range(self) -> TimeRange:
        return TimeRange(self.since_ms, self.until_ms)


class Cells:
    """The cells of a feed, disjoint, oldest first: one array a column. Immutable; `replaced` makes the next one."""

    __slots__ = ("table",)

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self.table: NDArray[np.void] = np.array(sorted(cells), dtype=COLUMNS)

    @classmethod
    def of(cls, table: NDArray[np.void]) -> "Cells":
        """Those of a table of `COLUMNS`, oldest first. It must not be changed any more."""
        cells = cls.__new__(cls)
        cells.table = table
        return cells

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, place: int) -> Cell:
        return Cell(*self.table[place].item())

    def at(self, since_ms: int) -> Cell | None:
        """The cell that begins at `since_ms`."""
        place = int(self.table["since_ms"].searchsorted(since_ms))
        found = place < len(self.table) and self.table["since_ms"][place] == since_ms
        return self[place] if found else None

    def places(self, wanted: TimeRange) -> tuple[int, int]:
        """[first, last) of the cells that have some time in `wanted`."""
        first = int(self.table["until_ms"].searchsorted(wanted.since_ms, side="right"))
        last = int(self.table["since_ms"].searchsorted(wanted.until_ms, side="left"))
        return first, max(first, last)

    def between(self, wanted: TimeRange) -> list[Cell]:
        """The cells that have some time in `wanted`."""
        first, last = self.places(wanted)
        return [Cell(*row) for row in self.table[first:last].tolist()]

    def replaced(self, gone: Iterable[int], new: Sequence[Cell]) -> "Cells":
        """Without the cells that begin at the moments `gone`, and with `new` instead of those that begin where these do."""
        added = np.array(sorted(new), dtype=COLUMNS)
        moments = np.array(sorted({*gone, *added["since_ms"].tolist()}), np.int64)
        if not len(moments):
            return self
        # Most changes are to a few neighbours or change no bounds: a feed may have 100,000 cells, one copy is enough.
        since_ms = self.table["since_ms"]
        first = int(since_ms.searchsorted(moments[0]))
        last = int(since_ms.searchsorted(moments[-1], side="right"))
        within = since_ms[first:last]
        places = within.searchsorted(moments)
        there = places < len(within)
        there[there] = within[places[there]] == moments[there]
        rows, new_rows = self.table.view(_ROW), added.view(_ROW)
        if there.all() and len(added) == len(moments):
            rows = rows.copy()
            rows[first + places] = new_rows
            return Cells.of(rows.view(COLUMNS))
        kept = np.ones(len(within), np.bool_)
        kept[places[there]] = False
        order = np.argsort(np.concatenate([within[kept], added["since_ms"]]), kind="stable")
        changed = np.concatenate([rows[first:last][kept], new_rows])[order]
        return Cells.of(np.concatenate([rows[:first], changed, rows[last:]]).view(COLUMNS))
