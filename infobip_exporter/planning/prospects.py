"""What reading each cell again should bring, as of one moment."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.audit import AUDIT_AGE_MS, EDGE_MS
from infobip_exporter.model.cells import NEVER_MS
from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.requests import AskNow, LookUp, ReadRange, ReadStatus, Request
from infobip_exporter.planning.runs import Runs, run_ends
from infobip_exporter.planning.settling import Floats
from infobip_exporter.planning.situation import Situation

FEWEST_OUTCOMES = 8
"""A request is worth it if it should reveal so many outcomes (at 3/s with a median of 10 min: 9.4 requests a poll, 99 %
of the outcomes counted within 58 s; with 2 of them 12.6 and 30 s, with 32 5.9 and 3.2 min),"""
WAITED = 0.1
"""or one that, on average, has waited for this part of its age (0.03 costs a tenth more requests there, and brings 99 %
of the failures within 35 s for 42 s),"""
WAITED_POLLS = 0.25
"""and for this part of a poll: the next head asks for the newest once more (at 1/s with a median of 2 s 1.05 requests a
poll, without this 1.23, and nothing is counted sooner)."""


class Prospects:
    """Places of cells in the situation's table, and their numbers. What is asked for is blocked until the next ones.

    `expected` is how many messages of the cell should have settled since they were last asked for, `worth` is that
    times how long each has waited on average, in seconds. `due` is whether a whole read makes the cell final, `auditable`
    whether one holds it against the log, `audit` whether it is to be read for that now, `once` whether it was read once only. `waiting` are the places of the cells with messages in flight:
    `sent_ms` is when these were sent on average, `oldest_ms` the first of them, `looked_ms` when they were last asked for.
    """

    def __init__(self, situation: Situation) -> None:
        table = situation.cells.table
        self.now_ms = situation.now_ms
        self.since_ms: NDArray[np.int64] = np.ascontiguousarray(table["since_ms"])
        self.until_ms: NDArray[np.int64] = np.ascontiguousarray(table["until_ms"])
        self.in_flight: NDArray[np.int32] = np.ascontiguousarray(table["in_flight"])
        self.final: NDArray[np.bool_] = np.ascontiguousarray(table["final"])
        self.messages: NDArray[np.int32] = np.ascontiguousarray(table["messages"])
        certain = situation.certain
        gone = certain & (self.until_ms <= situation.edge_ms)  # from the log: no answer shows it any more
        self.waiting = np.flatnonzero((self.in_flight > 0) & ~gone)
        self.oldest_ms: NDArray[np.int64] = table["oldest_in_flight_ms"][self.waiting]
        self.looked_ms: NDArray[np.int64] = table["looked_ms"][self.waiting]
        several = self.in_flight[self.waiting] > 1
        self.sent_ms: Floats = np.where(
            several, (self.oldest_ms + self.until_ms[self.waiting]) / 2, self.oldest_ms
        )
        self.expected, self.worth, stale = self.outcomes(situation, self.looked_ms)
        unread = (table["read_ms"] == NEVER_MS) | gone  # the first read of that time comes in its turn
        self.due = ~self.final & ~unread & certain
        self.due &= self.until_ms <= situation.now_ms - situation.final_age_ms
        self.auditable = self.final & table["auditable"] & certain
        self.auditable &= self.since_ms > situation.edge_ms + EDGE_MS
        self.once: NDArray[np.bool_] = table["reads"] < 2
        old = self.until_ms <= situation.now_ms - AUDIT_AGE_MS
        self.audit = self.auditable & ~table["audited"] & (self.once | old)
        ends = run_ends(
            self.since_ms, self.until_ms, self.messages, situation.room, situation.widest_ms, unread
        )
        self.runs = Runs(
            ends,
            {"worth": self.worth * ~unread, "expected": self.expected * ~unread, "stale": stale * ~unread},
        )
        self._stale = stale
        self._by_density: NDArray[np.intp] | None = None
        self._blocked: set[Request] = set()

    def outcomes(self, situation: Situation, asked_ms: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """For every cell: outcomes expected, their worth, and 1 where these have waited for long, else 0.

        `asked_ms` is when the messages in flight of each cell in `waiting` were last asked for.
        """
        count = self.in_flight[self.waiting].astype(np.float64)
        age = np.maximum(situation.now_ms - self.sent_ms, 0.0) / 1000
        asked = np.clip((asked_ms - self.sent_ms) / 1000, 0.0, age)
        share_then, integral_then = situation.settling.at(asked)
        share_now, integral_now = situation.settling.at(age)
        left = np.maximum(1 - share_then, 1e-12)
        expected = count * (share_now - share_then) / left
        worth = count * np.maximum(integral_now - integral_then - share_then * (age - asked), 0.0) / left
        patience = np.maximum(WAITED * age, WAITED_POLLS * situation.interval_s)
        stale = (expected > 0) & (worth > patience * expected)
        return self._spread(expected), self._spread(worth), self._spread(stale)

    def _spread(self, values: NDArray[np.generic]) -> Floats:
        """From the cells with messages in flight to all of them."""
        full = np.zeros(len(self.since_ms))
        full[self.waiting] = values
        return full

    def range_of(self, first: int, last: int, widest_ms: int) -> TimeRange:
        """The range of cells [first, last); the first part of it where it is one cell that is too wide."""
        since_ms = int(self.since_ms[first])
        return TimeRange(since_ms, min(int(self.until_ms[last - 1]), since_ms + widest_ms))

    def free(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        return places[~self.runs.blocked[places]]

    def best_run(self) -> tuple[int, int, float]:
        """[first, last) of the run with the greatest worth of those that are worth a request, and its worth."""
        if len(self.since_ms) == 0:
            return 0, 0, 0.0
        runs = self.runs
        enough = (runs.sums("expected") >= FEWEST_OUTCOMES) | (runs.sums("stale") > 0)
        worth = runs.sums("worth") * enough
        first = int(np.argmax(worth))
        return first, int(runs.ends[first]), float(worth[first])

    def best_list(self, ids: int, requests: float) -> tuple[NDArray[np.intp], float]:
        """The cells whose messages in flight fit a list of `ids` with the greatest worth, and their worth.

        At most `requests` more lists will be asked for before the next prospects.
        """
        if self._by_density is None:
            self._by_density = self._rank(ids, requests)
        places = self.free(self._by_density)
        chosen = places[np.cumsum(self.in_flight[places]) <= ids]
        enough = self.expected[chosen].sum() >= FEWEST_OUTCOMES or self._stale[chosen].any()
        return chosen, float(self.worth[chosen].sum()) if enough else 0.0

    def _rank(self, ids: int, requests: float) -> NDArray[np.intp]:
        """The cells that fit a list, by the worth of each id, as many as may be asked for."""
        places = self.waiting[self.in_flight[self.waiting] <= ids]
        density = self.worth[places] / self.in_flight[places]
        most = int(ids * (requests + 1))
        if len(places) > most:
            top = np.argpartition(-density, most)[:most]
            places, density = places[top], density[top]
        return places[np.argsort(-density, kind="stable")]

    def block(self, requests: Iterable[Request]) -> None:
        """Leaves out the cells that these requests ask for."""
        for request in set(requests) - self._blocked:
            self._blocked.add(request)
            match request:
                case ReadRange(range=asked):
                    first = int(np.searchsorted(self.until_ms, asked.since_ms, side="right"))
                    last = int(np.searchsorted(self.since_ms, asked.until_ms, side="left"))
                    self.runs.block(first, last)
                case LookUp(cells=cells):
                    places = np.searchsorted(self.since_ms, cells)
                    for place in places[places < len(self.since_ms)].tolist():
                        self.runs.block(place, place + 1)
                case AskNow() | ReadStatus():
                    pass
