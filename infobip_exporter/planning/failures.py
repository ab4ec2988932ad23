"""Asking for failures by their status: the newest page of each, and pages further back where messages settle late."""

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.prospects import FEWEST_OUTCOMES, Prospects
from infobip_exporter.planning.runs import Runs, run_ends
from infobip_exporter.planning.situation import LONGEST_FINAL_S, Situation

FAILURE_STATUSES = ("REJECTED", "UNDELIVERABLE", "EXPIRED")
WEIGHT = 16.0
"""A failure that waits counts as so many other outcomes: failures page people. At 100/s with 2 h to settle half of them are
counted after 5.4, 3.7, 2.7 and 2.5 min with 1, 4, 16 and 64, and half of all outcomes after 10.5, 10.5, 11.6 and 12.0 min."""


class Asked:
    """When each moment of sent time was last asked for by all failure statuses."""

    def __init__(self) -> None:
        self._since_ms = np.zeros(1, np.int64)
        self._asked_ms = np.zeros(1, np.int64)

    def at(self, moments_ms: NDArray[np.floating]) -> NDArray[np.int64]:
        return self._asked_ms[np.searchsorted(self._since_ms, moments_ms, side="right") - 1]

    def add(self, asked: TimeRange, now_ms: int) -> None:
        first = int(np.searchsorted(self._since_ms, asked.since_ms, side="left"))
        last = int(np.searchsorted(self._since_ms, asked.until_ms, side="right"))
        after = self._asked_ms[last - 1]
        self._since_ms = np.concatenate((self._since_ms[:first], asked, self._since_ms[last:]))
        self._asked_ms = np.concatenate((self._asked_ms[:first], [now_ms, after], self._asked_ms[last:]))

    def forget_before(self, moment_ms: int) -> None:
        first = max(0, int(np.searchsorted(self._since_ms, moment_ms, side="right")) - 1)
        self._since_ms, self._asked_ms = self._since_ms[first:], self._asked_ms[first:]


def newest_ms(situation: Situation, status: str) -> int:
    """How far back one page of the newest messages of this status should reach."""
    rate = max(situation.failures_per_s.get(status, 0.0), 1e-6)
    longest_s = min(LONGEST_FINAL_S, situation.widest_ms / 1000)
    return round(1000 * min(situation.room / rate, longest_s))


def shares(situation: Situation) -> dict[str, float]:
    """The share of all messages that settle in each failure status.

    The newest pages show failures of messages most of which have not settled yet; how many of them have is known.
    """
    found: dict[str, float] = {}
    mean = max(situation.mean_rows_per_s, 1e-9)
    for status in FAILURE_STATUSES:
        reach_s = newest_ms(situation, status) / 1000
        _, settled_s = situation.settling.at(np.array([reach_s]))
        settled = max(float(settled_s[0]) / reach_s, 1e-3)
        found[status] = min(1.0, situation.failures_per_s.get(status, 0.0) / mean / settled)
    return found


class Sweeps:
    """What asking for all failure statuses of a range should bring, with the prospects' cells. Worth as theirs."""

    def __init__(self, situation: Situation, prospects: Prospects, asked: Asked) -> None:
        by_status = shares(situation)
        self._prospects = prospects
        self.share = min(1.0, sum(by_status.values()))
        known = max(1e-6, *by_status.values())
        ends = run_ends(
            prospects.since_ms,
            prospects.until_ms,
            prospects.messages,
            situation.room / known,
            situation.widest_ms,
            np.zeros(len(prospects.since_ms), np.bool_),
        )
        last_asked = np.maximum(asked.at(prospects.sent_ms), prospects.looked_ms)
        expected, worth, _ = prospects.outcomes(situation, last_asked)
        part = self.share * WEIGHT / len(FAILURE_STATUSES)
        self._runs = Runs(ends, {"worth": worth * part, "expected": expected * part})

    def best(self) -> tuple[TimeRange, float]:
        """The range whose failures are worth most, and the worth of each of its requests, in other outcomes."""
        runs = self._runs
        if len(runs.ends) == 0:
            return TimeRange(0, 0), 0.0
        worth = runs.sums("worth") * (runs.sums("expected") >= FEWEST_OUTCOMES)
        first = int(np.argmax(worth))
        last = int(runs.ends[first])
        prospects = self._prospects
        if worth[first] <= 0:
            return TimeRange(0, 0), 0.0
        return TimeRange(int(prospects.since_ms[first]), int(prospects.until_ms[last - 1])), float(
            worth[first]
        )

    def block(self, asked: TimeRange) -> None:
        first = int(np.searchsorted(self._prospects.until_ms, asked.since_ms, side="right"))
        last = int(np.searchsorted(self._prospects.since_ms, asked.until_ms, side="left"))
        self._runs.block(first, last)

    def weight_of_all(self) -> float:
        """What an outcome of a read by range or id counts on average, for some are failures, too."""
        return 1 + (WEIGHT - 1) * self.share
