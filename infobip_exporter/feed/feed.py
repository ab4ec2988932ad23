"""The poll loop: what is due is chosen, asked, recorded; then the feed waits for the next poll."""

import random
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from infobip_exporter.config.schema import Config
from infobip_exporter.counting.labels import Caps
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed.api_time import ApiTime
from infobip_exporter.feed.asker import Api, Asker, GaveUp
from infobip_exporter.feed.recorder import Found, Recorder
from infobip_exporter.feed.show import by_hour, known_label_values
from infobip_exporter.feed.time import Stopped, Time
from infobip_exporter.feed.trouble import Troubles
from infobip_exporter.feed.volume import Volume
from infobip_exporter.infobip.channels import LOG_KEEPS_MS
from infobip_exporter.infobip.query import PAGE_LIMIT, Query
from infobip_exporter.infobip.rate_limit import RateLimiter
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.reading import plan
from infobip_exporter.reading.dialogue import Dialogue, Learnt, QueryRefused, Read
from infobip_exporter.reading.looks import looked_after
from infobip_exporter.reading.outlook import Outlook
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.reading.task import LookUp, ReadSpan, Task, Why
from infobip_exporter.reading.walk import BoundsIgnored, walk

START_INSIDE_MS = 60_000
"""A first start reads this much less than the log keeps at the most: what is about to leave can't be promised."""
NARROWEST_MS = 1000
"""Spans are not narrowed further where the API fails to answer for wide ones."""
WIDER = 1.1
"""How much wider the next span may be when one of the width that was left has been read."""
MOST_POLLS_HELD_OFF = 64
MOST_EMPTY_LOOKS = 3
"""After so many looks by id in a row that find none of the messages, or mostly others, looks go by span."""
STALE_S = 120.0
"""A walk that has not gone on for so long is begun again: the world has changed meanwhile."""


@dataclass(frozen=True, slots=True)
class _Stubborn:
    """Sent time that the API fails to show, however little of it is asked for: let alone for so many polls."""

    polls: int
    until_s: float


@dataclass(slots=True)
class _Walk:
    """A walk that stopped after a part of it was recorded, so that more urgent questions can be put in between."""

    task: ReadSpan
    dialogue: Dialogue
    touched_s: float
    step: Query | Read | None = None
    """What it has asked for; None before it has begun."""


class Feed:
    """One channel's log of one account, polled until `Stopped` is raised out of a wait.

    Everything it needs from outside comes in: the API, the ledger, time and chance.
    """

    def __init__(
        self,
        account: str,
        channel: str,
        config: Config,
        requests_per_minute: int,
        api: Api,
        ledger: Ledger,
        time: Time,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        self.account = account
        self.channel = channel
        self._poll = config.poll
        self._late_ms = round(self._poll.late_arrival_s * 1000)
        self._time = time
        self._log = log
        self._troubles = Troubles(log, time)
        behind = time.wall() - time.monotonic()
        now = time.monotonic()
        spent = [min(at / 1000 - behind, now) for at in ledger.progress.request_times_ms]
        budget = RateLimiter(requests_per_minute, spent)
        self._recorder = Recorder(
            ledger,
            Caps(config.metrics.max_label_values, known_label_values(ledger)),
            self._troubles,
            time,
            log,
            late_ms=self._late_ms,
            request_times=lambda: budget.times(time.monotonic()),
            published=self._publish,
        )
        self._asker = Asker(api, budget, self._recorder, self._troubles, time, rng)
        self._api_time = ApiTime(
            self._asker, self._recorder, self._troubles, time, log, late_ms=self._late_ms
        )
        self._learnt = Learnt(takes=ledger.progress.takes)
        self._volume = Volume()
        self._walks: dict[Why, _Walk] = {}
        self._spent: dict[Why, float] = dict.fromkeys(Why, 0.0)
        self._asked = 0
        """How many requests this poll has made for its tasks."""
        self._fresh_done = False
        self._widest_ms = dict.fromkeys(Why, LOG_KEEPS_MS)
        self._resting_until_s = dict.fromkeys(Why, float("-inf"))
        self._failed_span: Span | None = None
        self._stubborn: dict[Span, _Stubborn] = {}
        self._up: bool | None = None
        self._last_poll_s: float | None = None
        self.snapshot: FeedSnapshot = self._show()

    @property
    def answered(self) -> bool:
        """Whether the API has been asked once and the request came to an end, well or not."""
        return self._asker.answered

    @property
    def name(self) -> str:
        return f"{self.account}/{self.channel}"

    def run(self) -> None:
        """Poll until the feed is to end."""
        try:
            while True:
                began_s = self._time.monotonic()
                self.poll()
                self._time.sleep(began_s + self._poll.interval_s - self._time.monotonic())
        except Stopped:
            return

    def poll(self) -> None:
        """Do what is due, until nothing is or the next poll is."""
        began_s = self._time.monotonic()
        requests_before = self._asker.requests
        self._recorder.found = Found()
        for why in self._spent:
            self._spent[why] /= 2  # a class that went short in one poll goes first in the next
        self._walks.pop(Why.FRESH, None)
        self._fresh_done = False
        self._asked = 0
        try:
            self._api_time.ask()
            self._advance()
            self._expire()
            self._volume.learn_settling(self._recorder.ledger.histograms)
            self._recorder.done_looks(looked_after(self._outlook()))
            well = True
            while (task := self._next_task()) is not None:
                well &= self._carry_on(task)
                if self._time.monotonic() >= began_s + self._poll.interval_s:
                    break
                self._expire()
            self._recorder.prune(self._edge_ms())
            self._ended(well=well)
        except (GaveUp, QueryRefused, BoundsIgnored) as error:
            if not isinstance(error, GaveUp):
                self._troubles.began("api", str(error))
            self._walks.clear()
            self._ended(well=False)
        self._tell(self._asker.requests - requests_before, self._time.monotonic() - began_s)

    # What is due

    def _advance(self) -> None:
        """The API's time has gone on since the last poll: there is more to read."""
        now_ms = self._asker.clock.earliest_ms(self._time.monotonic())
        first_start = self._recorder.progress.frontier_ms is None
        if first_start:
            lookback_ms = min(round(self._poll.lookback_s * 1000), LOG_KEEPS_MS - START_INSIDE_MS)
            self._recorder.move(frontier_ms=now_ms - lookback_ms)
        progress = self._recorder.progress
        if progress.frontier_ms is not None and now_ms > progress.frontier_ms:
            new = Span(progress.frontier_ms, now_ms)
            self._recorder.move(unread=progress.unread.add(new), frontier_ms=now_ms)
        self._api_time.tell_if_set_back()
        if first_start:
            # Where counting begins is promised from here on, even to a process that is killed before it reads a page.
            self._recorder.commit()

    def _expire(self) -> None:
        """What has left the log can't be read or settle any more."""
        now_ms = self._asker.clock.earliest_ms(self._time.monotonic())
        self._recorder.expire(self._edge_ms(), now_ms - LOG_KEEPS_MS)
        self._stubborn = {s: each for s, each in self._stubborn.items() if s.until_ms > self._edge_ms()}

    def _edge_ms(self) -> int:
        """The oldest sent time that is surely still in the log."""
        return self._asker.clock.latest_ms(self._time.monotonic()) - LOG_KEEPS_MS

    def _outlook(self) -> Outlook:
        ledger = self._recorder.ledger
        progress = self._recorder.progress
        self._volume.learn(ledger.volume, progress)
        now = self._time.monotonic()
        return Outlook(
            progress=progress,
            stubborn=SpanSet(span for span, stubborn in self._stubborn.items() if stubborn.until_s > now),
            now_ms=self._asker.clock.earliest_ms(self._time.monotonic()),
            edge_ms=self._edge_ms(),
            late_ms=self._late_ms,
            interval_ms=round(self._poll.interval_s * 1000),
            limit=self._learnt.capped_at or PAGE_LIMIT,
            requests_per_minute=self._asker.budget.effective,
            rows_per_ms=self._volume.rows_per_ms,
            rows_in=self._volume.rows_in,
            since_with=self._volume.since_with,
            in_flight=self._recorder.in_flight_between,
            spent=self._spent,
            fresh_done=self._fresh_done,
            asked=self._asked,
            settled_after_ms=self._volume.settled_after_ms,
            unsettled_share=self._volume.unsettled_share,
            by_id=self._learnt.by_id,
            widest_look_ms=self._widest_ms[Why.LOOK],
        )

    def _next_task(self) -> Task | None:
        """What to go on with: the walk for the newest time is finished first, then what is most due is chosen."""
        newest = self._walks.get(Why.FRESH)
        now = self._time.monotonic()
        resting = {why for why, until_s in self._resting_until_s.items() if until_s > now}
        return newest.task if newest else plan.choose(self._outlook(), without=resting)

    # Doing it

    def _carry_on(self, task: Task) -> bool:
        """One step of a task: up to the next commit. A walk of the same class that is under way goes on instead.

        False where the API has failed to answer for so much, or for some record in it: the other classes go on.
        """
        requests_before = self._asker.requests
        try:
            self._failed_span = None
            if isinstance(task, LookUp):
                self._look_up(task)
            else:
                self._walk_on(task)
        except GaveUp as gave_up:
            if not gave_up.too_much:
                raise
            self._hold_off(task.why)
            return False
        finally:
            requests = max(1, self._asker.requests - requests_before)
            self._spent[task.why] += requests
            self._asked += requests
        return True

    def _hold_off(self, why: Why) -> None:
        """Let the other classes go on. Time that can't be read however little is asked rests, longer each time."""
        self._walks.pop(why, None)
        now = self._time.monotonic()
        self._resting_until_s[why] = now + self._poll.interval_s
        if self._failed_span is not None and self._failed_span.length_ms <= NARROWEST_MS:
            known = self._stubborn.get(self._failed_span)
            polls = min(2 * known.polls, MOST_POLLS_HELD_OFF) if known else 2
            self._stubborn[self._failed_span] = _Stubborn(polls, now + polls * self._poll.interval_s)

    def _look_up(self, task: LookUp) -> None:
        """Ask for messages by id; again for those that an answer as full as the API makes them has left out."""
        left = dict(task.messages)
        while left:
            try:
                reply = self._asker.ask(Query(message_ids=tuple(left)))
            except QueryRefused:
                self._learnt.by_id = False
                return
            shown = left.keys() & {record.message_id for record in reply.page.records}
            strangers = sum(record.message_id not in left for record in reply.page.records)
            nothing = not shown and len(left) == len(task.messages)
            if nothing or 2 * strangers > len(reply.page.records):
                # All gone, or an API that takes no list of ids: their spans will tell.
                self._learnt.empty_looks += 1
                self._learnt.by_id = self._learnt.empty_looks < MOST_EMPTY_LOOKS
                return
            self._learnt.empty_looks = 0
            self._recorder.looked(reply, left)
            left = {message_id: known for message_id, known in left.items() if message_id not in shown}
            if not shown or not self._learnt.may_hold_back(reply, PAGE_LIMIT):
                break
        self._recorder.done_looks(task.looked_ms)

    def _walk_on(self, task: ReadSpan) -> None:
        now = self._time.monotonic()
        under_way = self._walks.get(task.why)
        if under_way is not None and now - under_way.touched_s > max(STALE_S, 3 * self._poll.interval_s):
            # It will be begun again from the start: with less to do, it comes to an end.
            self._widest_ms[task.why] = max(NARROWEST_MS, under_way.task.span.length_ms // 4)
            under_way = None
        if under_way is None:
            task = self._narrowed(task)
            under_way = _Walk(task, walk(task.span, self._learnt, PAGE_LIMIT, self._late_ms), now)
        try:
            ended = self._next_part(under_way)
        except GaveUp as gave_up:
            self._failed_span = under_way.task.span
            if gave_up.too_much:
                self._widest_ms[task.why] = max(NARROWEST_MS, under_way.task.span.length_ms // 2)
            raise
        under_way.touched_s = self._time.monotonic()
        self._walks[task.why] = under_way
        if ended:
            del self._walks[task.why]
            if under_way.task.span.length_ms == self._widest_ms[task.why]:
                self._widest_ms[task.why] = min(round(WIDER * self._widest_ms[task.why]), LOG_KEEPS_MS)
            self._done(under_way.task)

    def _narrowed(self, task: ReadSpan) -> ReadSpan:
        """A part of a task, where the API has failed to answer for as much as that: the end that is most due."""
        widest_ms = self._widest_ms[task.why]
        since_ms, until_ms = task.span
        if task.span.length_ms <= widest_ms or task.why is Why.LOOK:
            return task  # the planner keeps looks narrow itself
        if task.why in (Why.AGAIN, Why.RESCUE):
            return ReadSpan(task.why, Span(since_ms, since_ms + widest_ms))
        return ReadSpan(task.why, Span(until_ms - widest_ms, until_ms))

    def _next_part(self, under_way: _Walk) -> bool:
        """Put the questions of a walk until a part of it is read and recorded. True when there is no more."""
        dialogue = under_way.dialogue
        try:
            step = under_way.step or dialogue.send(None)
            while isinstance(step, Query):
                try:
                    reply = self._asker.ask(step)
                except QueryRefused as refused:
                    step = dialogue.throw(refused)
                else:
                    step = dialogue.send(reply)
            self._recorder.move(takes=self._learnt.takes)
            self._recorder.read(step, self._edge_ms())
            under_way.step = dialogue.send(None)
        except StopIteration:
            return True
        return False

    def _done(self, task: ReadSpan) -> None:
        if task.looked_ms is not None:
            self._recorder.done_looks(task.looked_ms)
        if task.why is Why.FRESH:
            self._fresh_done = True

    # Telling of it

    def _ended(self, *, well: bool) -> None:
        self._up = well
        self._last_poll_s = self._time.wall()
        if well:
            self._recorder.move(last_success_s=self._last_poll_s)
        self._publish()

    def _tell(self, requests: int, took_s: float) -> None:
        shown = self.snapshot
        self._log.info(
            "poll",
            ok=self._is_up,
            new=self._recorder.found.new,
            settled=self._recorder.found.settled,
            in_flight=sum(shown.in_flight.values()),
            requests=requests,
            backlog_s=round(shown.backlog_ms / 1000),
            took_s=round(took_s, 2),
        )

    def fell_over(self, error: Exception) -> None:
        """The feed has met an error of its own making, or a ledger that it can't begin again from."""
        if isinstance(error, LedgerError):
            self._troubles.began("state", str(error))
        else:
            self._troubles.began("exporter", f"{type(error).__name__}: see the log")
        self._ended(well=False)

    @property
    def _is_up(self) -> bool | None:
        """How the last poll went; a poll that gets no answer has failed long before it gives up."""
        return False if self._troubles.worst else self._up

    def _publish(self) -> None:
        self.snapshot = self._show()

    def _show(self) -> FeedSnapshot:
        ledger = self._recorder.ledger
        progress = self._recorder.progress
        now = self._time.monotonic()
        return FeedSnapshot(
            account=self.account,
            channel=self.channel,
            counters=ledger.counters,
            histograms=ledger.histograms,
            in_flight=ledger.in_flight,
            oldest_in_flight_ms=ledger.oldest_in_flight_ms,
            last_sent_ms=ledger.progress.last_sent_ms,
            up=self._is_up,
            last_poll_s=self._last_poll_s,
            last_success_s=progress.last_success_s,
            read_up_to_ms=ledger.progress.read_up_to_ms,
            backlog_ms=ledger.progress.unread.total_ms,
            requests_per_minute=self._asker.budget.effective,
            requests_last_minute=len(self._asker.budget.times(now)),
            clock_skew_s=self._asker.clock.skew_s(self._time.wall(), now),
            trouble=self._troubles.worst,
            last_trouble=self._troubles.last,
            by_hour=by_hour(ledger.settled_by_hour),
        )
