"""What a feed's answers have taught of its log: traffic, settling times, the server's caps and how its clocks differ."""

import math
from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.settling import Floats, SettlingTimes
from infobip_exporter.planning.situation import OVERLAP_MS, Situation
from infobip_exporter.planning.traffic import FailureTraffic, Traffic

BEHIND_MS = 5_000
"""Records usually turn up within 2 s; beyond this the clock that stamps them is taken to be behind the Date header."""
BEHIND_POLLS = 10
ID_LENGTH = 36
"""Of a messageId, until some were seen: a UUID."""
CAP_GROWTH = 1.25
"""How much longer ranges and lists may get with each poll where the server was found to cap its answers."""


class Learnt:
    """`page_limit` rows and `list_length` characters of ids are the most that a request may ask for.

    `page_rows` and `most_ids` are what the server was found to answer at most, `failures` the traffic by status.
    """

    def __init__(self, settling: Sequence[float], page_limit: int, list_length: int) -> None:
        self.page_limit = page_limit
        self.list_length = list_length
        self.page_rows = page_limit
        self.most_ids = list_length
        self.traffic = Traffic()
        self.failures: defaultdict[str, FailureTraffic] = defaultdict(FailureTraffic)
        self.settling = SettlingTimes.from_list(settling)
        self._head_since_ms = self._head_rows = self._head_ms = 0
        self._id_length = float(ID_LENGTH)
        self._behind_ms: deque[int] = deque(maxlen=BEHIND_POLLS)

    def poll_begins(self) -> None:
        """A cap that was found may be gone."""
        self.page_rows = min(self.page_limit, math.ceil(CAP_GROWTH * self.page_rows))
        self.most_ids = min(self.list_length, math.ceil(CAP_GROWTH * self.most_ids))

    def saw_rows(self, rows: int) -> None:
        """An answer with more rows than the server's cap: there is none."""
        if rows > self.page_rows:
            self.page_rows = self.page_limit

    def head_begins(self, since_ms: int) -> None:
        """A poll's head is asked for; `since_ms` is where it begins but for what it reads once more."""
        self._head_since_ms = since_ms
        self._head_rows = self._head_ms = 0

    def saw_of_head(self, sent_ms: NDArray[np.int64], wanted: TimeRange) -> None:
        """All rows of a part of the head."""
        self._head_rows += int((sent_ms >= self._head_since_ms).sum())
        self._head_ms += max(0, wanted.until_ms - max(wanted.since_ms, self._head_since_ms))

    def head_read(self, new: int, situation: Situation, new_ms: int) -> None:
        """All of a head was read, `new_ms` beyond the watermark of the situation: what was new is the traffic."""
        overlap = TimeRange(situation.watermark_ms - OVERLAP_MS, situation.watermark_ms)
        first_read_ms = new_ms + situation.unread.meet(overlap).total_ms
        self.traffic = self.traffic.observed(new, first_read_ms / 1000)

    def head_not_read(self) -> None:
        """Not all of a head was read: what its parts had is the traffic.

        Else a guess that is wrong would stay, where answers are slow: no later head would be read to its end either.
        """
        self.traffic = self.traffic.observed(self._head_rows, self._head_ms / 1000)

    def saw_newest(self, age_ms: int) -> None:
        """The newest record of a head was this old."""
        self._behind_ms.append(max(0, age_ms))

    def settled(self, durations_s: Floats) -> None:
        self.settling = self.settling.observed(durations_s)

    def asked_for(self, ids: Sequence[str]) -> None:
        self._id_length += 0.1 * (sum(map(len, ids)) / len(ids) - self._id_length)

    def fits(self, ids: Sequence[str]) -> bool:
        """Whether one request may ask for these ids."""
        return len(ids) <= self.most_ids and sum(map(len, ids)) + len(ids) - 1 <= self.list_length

    @property
    def ids_per_list(self) -> int:
        return min(self.most_ids, max(1, int(self.list_length / (self._id_length + 1))))

    @property
    def behind_ms(self) -> int:
        """How far the clock that stamps records is behind the Date header."""
        least_ms = min(self._behind_ms, default=0)
        return least_ms if least_ms > BEHIND_MS else 0
