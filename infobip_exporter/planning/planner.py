"""What to ask next: the requests of a poll, one by one, by the rules of the design."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.audit import AUDIT_AGE_MS, EDGE_MS
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import HOUR_MS, TimeRange, TimeRanges
from infobip_exporter.planning.backlog import newest_unread, oldest_unread
from infobip_exporter.planning.failures import FAILURE_STATUSES, Asked, Sweeps, newest_ms
from infobip_exporter.planning.head import head_requests
from infobip_exporter.planning.prospects import Prospects
from infobip_exporter.planning.requests import AskNow, LookUp, ReadRange, ReadStatus, Request, Why
from infobip_exporter.planning.situation import OVERLAP_MS, READS_FOR_AN_HOUR, Situation

OVERDUE_MS = 600_000
"""Cells so long due for their final read do not wait for a full page any more (at 1/s 1.05 requests a poll; after a
minute 1.13, after an hour 1.03)."""
LAST_ASK_MS = 180_000
"""Messages in flight are asked for a last time so long before they leave the log."""
SLOW_SETTLING_S = 600.0
"""With a longer median settling time failures are asked for by status, at any rate (with a median of 10 min that costs
2.2 requests a poll more, and 99 % of the failures are counted within 30 s for 42 s)."""
POLLS_PER_AUDIT = 20
"""At least one request in so many polls audits, however busy the feed is."""
SWEEP_AGE = 1.05
"""The only read comes at this many final ages: what is known of settling times changes a little from poll to poll, and a
cell that was read too early is read twice."""
REFRESH_MS = 10_000
"""Within a poll the prospects are reckoned anew after so long (polls of 5 min at 100/s with a median of 10 min: half of
the outcomes within 40 s; reckoned once a poll 2.4 min)."""


class Planner:
    """The requests of a feed: `head` begins each poll, then `next_request` gives one after the other."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._prospects: Prospects | None = None
        self._asked: Counter[Why] = Counter()
        self._statuses: list[str] = []
        self._swept: TimeRange | None = None
        self._newest: TimeRange | None = None
        self._failures_asked = Asked()
        self._sweeps: Sweeps | None = None
        self._head_since_ms = 0
        self._sweep_to_ms = 0
        self._began_ms = 1 << 62
        self._spent = False
        self._polls_without_audit = 0

    def head(self, situation: Situation) -> list[ReadRange | AskNow]:
        """What the poll asks first, see `head_requests`. At least one request."""
        requests = head_requests(situation)
        self._prospects = None
        self._asked.clear()
        self._statuses = list(FAILURE_STATUSES)
        self._swept = self._newest = None
        self._failures_asked.forget_before(situation.edge_ms)
        self._head_since_ms = requests[0].range.since_ms
        self._began_ms = situation.latest_ms
        self._sweep_to_ms = situation.now_ms - round(SWEEP_AGE * situation.final_age_ms)
        self._polls_without_audit = self._polls_without_audit + 1 if self._spent else 0
        self._spent = False
        return requests

    def reckon_anew(self) -> None:
        """What was asked for has failed: it may be worth another request in this poll."""
        self._prospects = None

    def next_request(
        self, situation: Situation, quota: float, under_way: Sequence[Request]
    ) -> Request | None:
        """The request to send now, or None where nothing is worth one.

        `quota` is how many requests the poll has left, `under_way` what was sent and not yet applied. A range read
        may end inside of a cell, where the API fails for ranges as wide as the cell.
        """
        if quota < 1:
            self._spent = True
            return None
        prospects = self._reckoned(situation, under_way)
        ranges = [each.range for each in under_way if isinstance(each, ReadRange)]
        # What has come since the poll began is for the next one, also where a wrong Date made the watermark run ahead.
        self._began_ms = min(self._began_ms, situation.latest_ms)
        unread = situation.unread.below(self._began_ms).without(TimeRanges(ranges))
        request = (
            _leaving(situation, prospects, unread)
            or self._failures(situation, prospects)
            or _final(situation, prospects)
            or self._sample(situation, prospects)
            or self._backlog(situation, unread)
            or self._recheck(situation, prospects, quota)
            or self._backlog(situation, unread, alone=True)
            or _audit(situation, prospects)
        )
        if request is not None:
            self._asked[request.why] += 1
            prospects.block([request])
            if request.why is Why.AUDIT:
                self._polls_without_audit = 0
        return request

    def _reckoned(self, situation: Situation, under_way: Sequence[Request]) -> Prospects:
        prospects = self._prospects
        if prospects is None or not 0 <= situation.now_ms - prospects.now_ms < REFRESH_MS:
            prospects = self._prospects = Prospects(situation)
            self._sweeps = None
        prospects.block(under_way)
        return prospects

    def _backlog(self, situation: Situation, unread: TimeRanges, *, alone: bool = False) -> Request | None:
        """The newest unread time: every second request of those left, or `alone` where nothing else is worth one."""
        one_read = situation.one_read_only
        others = self._asked[Why.FAILURES] + self._asked[Why.RECHECK]
        if not one_read and not alone and self._asked[Why.BACKLOG] > others:
            return None
        # The next head reads what is newer.
        to_ms = self._sweep_to_ms if one_read else situation.watermark_ms - OVERLAP_MS
        newest = newest_unread(situation, unread.below(to_ms))
        return ReadRange(Why.BACKLOG, newest) if newest else None

    def _asks_for_failures(self, situation: Situation, prospects: Prospects) -> bool:
        """Whether failures are asked for by status, for reads by range bring them late."""
        if not situation.may_ask_status or len(prospects.waiting) == 0:
            return False
        if prospects.until_ms[prospects.waiting[0]] > self._head_since_ms:
            return False
        slow = situation.settling.quantile(0.5) > SLOW_SETTLING_S
        return slow or situation.whole_reads() < READS_FOR_AN_HOUR

    def _failures(self, situation: Situation, prospects: Prospects) -> Request | None:
        """The newest messages of each failure status, once a poll; the rest of a sweep further back."""
        if not self._statuses or not self._asks_for_failures(situation, prospects):
            return None
        if self._swept is not None:
            return self._read_status(situation, self._swept)
        reach_ms = newest_ms(situation, self._statuses[0])
        since_ms = max(situation.latest_ms - reach_ms, int(prospects.since_ms[0]))
        newest = TimeRange(since_ms, situation.latest_ms)
        self._newest = newest.meet(self._newest) if self._newest else newest
        request = ReadStatus(Why.FAILURES, self._statuses.pop(0), newest)
        if not self._statuses:
            self._failures_asked.add(self._newest, situation.now_ms)
        return request

    def _read_status(self, situation: Situation, wanted: TimeRange) -> ReadStatus:
        """The next status of a sweep over `wanted`."""
        request = ReadStatus(Why.RECHECK, self._statuses.pop(0), wanted)
        self._swept = wanted if self._statuses else None
        if not self._statuses:
            self._failures_asked.add(wanted, situation.now_ms)
        return request

    def _recheck(self, situation: Situation, prospects: Prospects, quota: float) -> Request | None:
        """The run that fits a page, the list of ids or the sweep of failures with the greatest worth."""
        first, _, worth = prospects.best_run()
        listed, worth_of_list = np.empty(0, np.intp), 0.0
        if situation.may_look_up:
            listed, worth_of_list = prospects.best_list(situation.ids_per_list, quota)
        if quota >= len(FAILURE_STATUSES) and self._asks_for_failures(situation, prospects):
            sweeps = self._sweeps = self._sweeps or Sweeps(situation, prospects, self._failures_asked)
            wanted, worth_of_sweep = sweeps.best()
            if worth_of_sweep > max(worth, worth_of_list) * sweeps.weight_of_all():
                sweeps.block(wanted)
                self._statuses = list(FAILURE_STATUSES)
                return self._read_status(situation, wanted)
        if worth_of_list > worth:
            return LookUp(Why.RECHECK, tuple(sorted(prospects.since_ms[listed].tolist())))
        return _read(Why.RECHECK, situation, prospects, first) if worth > 0 else None

    def _sample(self, situation: Situation, prospects: Prospects) -> Request | None:
        """A random run to audit, where the budget left none for `POLLS_PER_AUDIT` polls."""
        if self._polls_without_audit < POLLS_PER_AUDIT:
            return None
        places = prospects.free(np.flatnonzero(prospects.auditable))
        if len(places) == 0:
            return None
        return _read(Why.AUDIT, situation, prospects, int(self._rng.choice(places)))


def _leaving(situation: Situation, prospects: Prospects, unread: TimeRanges) -> Request | None:
    """Unread time and messages in flight that leave the log soon."""
    if not situation.certain:
        return None
    interval_ms = round(situation.interval_s * 1000)
    soon = situation.edge_ms + EDGE_MS + interval_ms
    if unread and unread.ranges[0].since_ms < soon:
        oldest = oldest_unread(situation, unread)
        return ReadRange(Why.LEAVING, oldest) if oldest else None
    window_ms = LAST_ASK_MS + interval_ms
    waiting = prospects.waiting[
        : int(np.searchsorted(prospects.waiting, np.searchsorted(prospects.since_ms, soon)))
    ]
    oldest_ms, looked_ms = prospects.oldest_ms[: len(waiting)], prospects.looked_ms[: len(waiting)]
    leaving = (oldest_ms < situation.edge_ms + window_ms) & (looked_ms < oldest_ms + LOG_KEEPS_MS - window_ms)
    places = prospects.free(waiting[leaving])
    if len(places) == 0:
        return None
    listed = places[np.cumsum(prospects.in_flight[places]) <= situation.ids_per_list]
    if situation.may_look_up and len(listed):
        return LookUp(Why.LEAVING, tuple(prospects.since_ms[listed].tolist()))
    return _read(Why.LEAVING, situation, prospects, int(places[0]))


def _final(situation: Situation, prospects: Prospects) -> Request | None:
    """The oldest run of cells due for their final read that fills a page or is overdue."""
    overdue = prospects.until_ms <= situation.now_ms - situation.final_age_ms - OVERDUE_MS
    return _oldest(Why.FINAL, situation, prospects, prospects.due, overdue)


def _audit(situation: Situation, prospects: Prospects) -> Request | None:
    """The oldest run of cells to be audited that fills a page, has waited for an hour, or was read only once."""
    overdue = prospects.until_ms <= situation.now_ms - AUDIT_AGE_MS - HOUR_MS
    return _oldest(Why.AUDIT, situation, prospects, prospects.audit, overdue | prospects.once)


def _oldest(
    why: Why,
    situation: Situation,
    prospects: Prospects,
    wanted: NDArray[np.bool_],
    overdue: NDArray[np.bool_],
) -> Request | None:
    """The oldest run from a `wanted` cell on whose page is full: the next cell is wanted, too, and does not fit.

    Those that are `overdue` wait for no full page.
    """
    places = prospects.free(np.flatnonzero(wanted))
    ends = prospects.runs.ends[places]
    full = (ends < len(wanted)) & wanted[np.minimum(ends, len(wanted) - 1)]
    ready = places[full | overdue[places]]
    return _read(why, situation, prospects, int(ready[0])) if len(ready) else None


def _read(why: Why, situation: Situation, prospects: Prospects, first: int) -> ReadRange:
    """A read of the longest run from the cell at `first`."""
    last = int(prospects.runs.ends[first])
    return ReadRange(why, prospects.range_of(first, last, situation.widest_ms))
