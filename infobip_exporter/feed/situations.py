"""What the planner has to know, put together from all who know a part of it."""

from infobip_exporter.config.schema import Poll
from infobip_exporter.feed.avoided import Avoided
from infobip_exporter.feed.clock import Clock
from infobip_exporter.feed.learnt import Learnt
from infobip_exporter.feed.sender import Sender
from infobip_exporter.feed.writer import Writer
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import DAY_MS
from infobip_exporter.planning.situation import SPENT, Situation

FEWEST = 2.1
"""Requests that each poll has: one for the newest time, one for all else, and some for a range that comes back full."""
LATEST_POLLS = 3
"""A gap of more polls than this since the watermark is a backlog: the newest time comes first."""


class Situations:
    """The situations of a feed."""

    def __init__(
        self, poll: Poll, writer: Writer, sender: Sender, avoided: Avoided, learnt: Learnt, clock: Clock
    ) -> None:
        self._poll = poll
        self._writer = writer
        self._sender = sender
        self._avoided = avoided
        self._learnt = learnt
        self._clock = clock
        self._head_since_ms = writer.progress.watermark_ms
        self._well_before = 0

    @property
    def interval_s(self) -> float:
        """From one poll to the next: longer than `poll.interval` where the budget has less than `FEWEST` for each."""
        return max(self._poll.interval_s, FEWEST * 60 / (self._sender.limiter.effective * SPENT))

    def advance(self) -> Situation:
        """The API's time has gone on since the last poll: there is more to read."""
        bounds = self._sender.bounds()
        watermark_ms = self._writer.progress.watermark_ms
        if self._sender.well > self._well_before:  # else nothing has been read since the last poll
            self._well_before, self._head_since_ms = self._sender.well, watermark_ms
        before_ms = min(watermark_ms, self._head_since_ms)
        self._writer.advance(bounds.earliest_ms)
        latest_ms = bounds.earliest_ms - round(LATEST_POLLS * self.interval_s * 1000)
        return self.now(watermark_ms=max(before_ms, latest_ms))

    def now(self, watermark_ms: int | None = None) -> Situation:
        """The situation, with another watermark than the feed's if need be."""
        bounds = self._sender.bounds()
        progress = self._writer.progress
        now_s = self._clock.monotonic_s()
        recent_ms = bounds.latest_ms - DAY_MS
        lateness_ms = max((late for at_ms, late in progress.lateness_ms if at_ms > recent_ms), default=0)
        return Situation(
            now_ms=bounds.earliest_ms - self._learnt.behind_ms,
            latest_ms=bounds.latest_ms,
            watermark_ms=progress.watermark_ms if watermark_ms is None else watermark_ms,
            requests_per_minute=self._sender.limiter.effective,
            interval_s=self.interval_s,
            late_arrival_s=self._poll.late_arrival_s,
            cells=self._writer.ledger.cells,
            # Nothing is proven of time that, for all that is known, has not come yet.
            # No answer can prove time that may have left the log: it would be asked for over and over.
            unread=progress.unread.below(bounds.earliest_ms)
            .above(bounds.latest_ms - LOG_KEEPS_MS)
            .without(self._avoided.resting(now_s)),
            settling=self._learnt.settling,
            certain=bounds.certain,
            rows_per_s=self._learnt.traffic.rows_per_s,
            failures_per_s={status: each.rows_per_s for status, each in self._learnt.failures.items()},
            page_rows=self._learnt.page_rows,
            ids_per_list=self._learnt.ids_per_list,
            widest_ms=self._avoided.widest_ms,
            may_look_up=self._avoided.may_use("messageId", now_s),
            may_ask_status=self._avoided.may_use("generalStatus", now_s),
            lateness_s=lateness_ms / 1000,
            missed_recently=progress.missed_ms is not None and progress.missed_ms > recent_ms,
        )
