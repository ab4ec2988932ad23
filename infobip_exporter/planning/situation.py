"""What the planner knows when it decides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from infobip_exporter.infobip.query import PAGE_LIMIT
from infobip_exporter.model.cells import NEVER_MS, Cells
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import HOUR_MS, TimeRange, TimeRanges
from infobip_exporter.planning.settling import SettlingTimes

OVERLAP_MS = 3000
"""How far behind the watermark the head begins: records were seen to turn up in the log within 2 s."""
MARGIN = 2.2
"""Pages are planned so many standard deviations of their number of rows below full: 930 rows of 1000."""
USABLE = 0.9
"""The part of the budget that plans reckon with: the rest goes to full pages and retries."""
SPENT = 0.98
"""The part of a poll's share of the budget that is spent. With all of it each request waits for the one a minute before
to be forgotten, and is sent a little later than that: at 600/s the heads slipped by 50 ms a minute, without end."""


@dataclass(frozen=True)
class Situation:
    """All moments are the API's time in milliseconds.

    `now_ms` is the lower and `latest_ms` the upper bound of the API's now. Unless `certain`, recent answers contradict
    each other about it. `unread` is what may be read: without the ranges that failed and rest. `rows_per_s` is the
    traffic that the head expects, `failures_per_s` that of each failure status by its name. `page_rows` is how many
    rows a page can have, `ids_per_list` how many ids fit a list, `widest_ms` the widest range that the API answers.
    `lateness_s` is the largest lateness of the last day, `missed_recently` whether the audit missed a message in it.
    """

    now_ms: int
    latest_ms: int
    watermark_ms: int
    requests_per_minute: float
    interval_s: float
    late_arrival_s: float
    cells: Cells = field(default_factory=Cells)
    unread: TimeRanges = field(default_factory=TimeRanges)
    settling: SettlingTimes = field(default_factory=SettlingTimes)
    certain: bool = True
    rows_per_s: float = 0.0
    failures_per_s: Mapping[str, float] = field(default_factory=dict)
    page_rows: int = PAGE_LIMIT
    ids_per_list: int = 50
    widest_ms: int = LOG_KEEPS_MS
    may_look_up: bool = True
    may_ask_status: bool = True
    lateness_s: float = 0.0
    missed_recently: bool = False

    @property
    def room(self) -> float:
        """How many rows a range is planned to have."""
        return max(1.0, self.page_rows - MARGIN * math.sqrt(self.page_rows))

    @property
    def edge_ms(self) -> int:
        """The sent time of which messages leave the log now, at the earliest."""
        return self.latest_ms - LOG_KEEPS_MS

    @property
    def requests_per_poll(self) -> float:
        return self.requests_per_minute * self.interval_s / 60 * SPENT

    @cached_property
    def mean_rows_per_s(self) -> float:
        """The traffic of the last hour: what a burst of a minute hardly changes."""
        first, last = self.cells.places(TimeRange(self.watermark_ms - HOUR_MS, self.watermark_ms))
        table = self.cells.table[first:last]
        read = table["read_ms"] != NEVER_MS
        length_ms = int((table["until_ms"] - table["since_ms"])[read].sum())
        if length_ms == 0:
            return self.rows_per_s
        return float(table["messages"][read].sum(dtype=np.int64)) * 1000 / length_ms

    def whole_reads(self) -> float:
        """How many times each message can be read within the budget."""
        pages_per_minute = self.mean_rows_per_s * 60 / self.room
        return self.requests_per_minute * USABLE / max(pages_per_minute, 1e-9)

    @property
    def one_read_only(self) -> bool:
        """Whether the traffic leaves no room for more than one read, at the final age."""
        return self.whole_reads() < FEWEST_READS

    @property
    def final_age_ms(self) -> int:
        """The age from which a whole read makes a cell final."""
        if self.whole_reads() >= READS_FOR_AN_HOUR:
            age_s = 3600.0
        else:
            longest_s = LONGEST_ONE_READ_S if self.one_read_only else LONGEST_FINAL_S
            age_s = min(self.settling.quantile(SETTLED), longest_s)
        age_s = max(age_s, 2 * self.lateness_s) * (2 if self.missed_recently else 1)
        return round(1000 * max(self.late_arrival_s, min(age_s, LONGEST_FINAL_S)))


FEWEST_READS = 2.25
"""With fewer whole reads of each message than this, each is read once, at the final age. Two reads, what they overlap and
three pages of failures fit up to 620/s at 100 requests a minute; beyond, the second read never catches up: at 680/s
outcomes were 20 minutes late after half an hour, and what is provisional grew without end (simulated)."""
LONGEST_ONE_READ_S = 300.0
"""Messages that are read once are read at this age at the latest; outcomes after it are asked for by status and id."""
READS_FOR_AN_HOUR = 5.0
"""With at least as many whole reads, cells stay provisional for an hour."""
SETTLED = 0.995
"""Else cells stay provisional until this share of their messages has settled."""
LONGEST_FINAL_S = 6 * 3600.0
