"""Runs of neighbouring cells that one request can read."""

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.planning.settling import Floats


def run_ends(
    since_ms: NDArray[np.int64],
    until_ms: NDArray[np.int64],
    rows: NDArray[np.int32],
    most_rows: float,
    widest_ms: int,
    unread: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """For each cell, the end (exclusive place) of the longest run from it that has at most `most_rows` and `widest_ms`.

    Only cells that touch are joined: what lies in a gap is unread, or can't be read at present. Cells of `unread` time
    stay alone: how many rows that has is not known. A run has at least its first cell.
    """
    count = len(rows)
    places = np.arange(count)
    total = np.concatenate(([0], np.cumsum(rows, dtype=np.int64)))
    by_rows = np.searchsorted(total, total[:-1] + most_rows, side="right") - 1
    by_width = np.searchsorted(until_ms, since_ms + widest_ms, side="right")
    apart = (until_ms[:-1] != since_ms[1:]) | unread[:-1] | unread[1:]
    last_of_touching = np.append(np.flatnonzero(apart) + 1, count)
    by_gap = last_of_touching[np.searchsorted(last_of_touching, places, side="right")]
    ends: NDArray[np.intp] = np.maximum(np.minimum(np.minimum(by_rows, by_width), by_gap), places + 1)
    return ends


class Runs:
    """For each cell, the run from it on, and the sums of several values over that. Cells that are asked for are blocked."""

    def __init__(self, ends: NDArray[np.intp], values: dict[str, Floats]) -> None:
        self.ends = ends
        self.blocked = np.zeros(len(ends), dtype=np.bool_)
        self._totals = {
            name: np.concatenate(([0.0], np.cumsum(value, dtype=np.float64)))
            for name, value in values.items()
        }
        self._sums = {name: total[ends] - total[:-1] for name, total in self._totals.items()}

    def sums(self, name: str) -> Floats:
        return self._sums[name]

    def block(self, first: int, last: int) -> None:
        """No run has any of the cells [first, last) from now on."""
        if first >= last:
            return
        before = int(np.searchsorted(self.ends, first, side="right"))
        changed = slice(before, last)
        self.blocked[first:last] = True
        self.ends[before:first] = np.minimum(self.ends[before:first], first)
        self.ends[first:last] = np.arange(first, last)
        for name, total in self._totals.items():
            self._sums[name][changed] = total[self.ends[changed]] - total[before:last]
