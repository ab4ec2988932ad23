"""The poll loop: the newest time first, then whatever is worth asking for most, until the poll's share is spent."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

import numpy as np
from structlog.typing import FilteringBoundLogger

from infobip_exporter.config.schema import Metrics, Poll
from infobip_exporter.counting.caps import Caps
from infobip_exporter.errors import LedgerError, RequestFailed
from infobip_exporter.feed.avoided import Avoided
from infobip_exporter.feed.clock import Clock, Worker
from infobip_exporter.feed.incidents import Incidents
from infobip_exporter.feed.recorder import Found, Reading, Recorder
from infobip_exporter.feed.sender import REFUSED, THROTTLED, Api, Sender
from infobip_exporter.infobip.clock import ApiClock, Bounds
from infobip_exporter.infobip.query import MAX_LIST_LENGTH, PAGE_LIMIT, Query
from infobip_exporter.infobip.rate_limit import Kept, RateLimiter, boot_id, restored
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics.catalog import Choice
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.record import Answer, Page
from infobip_exporter.model.time_range import DAY_MS, TimeRange, TimeRanges
from infobip_exporter.planning.oversized import KnownValues, Millisecond, QueryRefused, read_millisecond
from infobip_exporter.planning.planner import Planner
from infobip_exporter.planning.range_read import Part, is_full, may_be_capped, split
from infobip_exporter.planning.requests import AskNow, LookUp, ReadRange, ReadStatus, Request, Why
from infobip_exporter.planning.settling import SettlingTimes
from infobip_exporter.planning.situation import Situation
from infobip_exporter.planning.traffic import FailureTraffic, Traffic

UNDER_WAY = 4
"""Requests of a feed at once: at 0.2 s a request, what a minute allows is asked for within six seconds."""
LATEST_POLLS = 3
"""A gap of more polls than this since the watermark is a backlog: the newest time comes first."""
TIMES_ASKED = 5
"""How many answers may fail to tell the API's time at the start before the exporter begins without."""
START_INSIDE_MS = 60_000
"""A first start reads this much less than the log keeps: what is about to leave can't be promised."""
BEHIND_MS = 5_000
"""Records usually turn up within 2 s; beyond this the clock that stamps them is taken to be behind the Date header."""
BEHIND_POLLS = 10
ID_LENGTH = 36
"""Of a messageId, until some were seen: a UUID."""

CAP_GROWTH = 1.25
"""How much longer ranges and lists may get with each poll where the server was found to cap its answers."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a configuration that one feed depends on."""

    account: str
    channel: str
    poll: Poll
    metrics: Metrics
    requests_per_minute: int
    filters: str = ""
    """Tells whether the account's filters have changed; holds none of their values."""
    log_failures: bool = False

    @property
    def name(self) -> str:
        return f"{self.account}/{self.channel}"


@dataclass(frozen=True, slots=True)
class _Job:
    """A request that is to be sent: what it is for, and what its answer is about."""

    why: Why
    query: Query
    request: Request
    part: Part | None = None
    ids: frozenset[str] = frozenset()
    looked: tuple[int, ...] = ()
    """Cells of which all messages in flight are asked for."""
    suspect_rows: int = 0
    """How many rows the answer had that made the exporter ask for less: perhaps the server's cap."""
    postponed: bool = False
    """Whether it is asked for because a message could not be told from one with the same id."""


class _Begun(NamedTuple):
    """A read of an oversized millisecond: its next query, and the API's now when the first was asked."""

    steps: Generator[Query, Page, Millisecond]
    query: Query
    asked: Bounds


class Feed:
    """One channel's log of one account. Everything it needs from outside comes in: the API, the ledger, time, chance."""

    def __init__(
        self,
        settings: Settings,
        api: Api,
        ledger: Ledger,
        clock: Clock,
        worker: Worker,
        rng: Random,
        log: FilteringBoundLogger,
        *,
        page_limit: int = PAGE_LIMIT,
        list_length: int = MAX_LIST_LENGTH,
    ) -> None:
        self.settings = settings
        self._poll = settings.poll
        self._clock = clock
        self._log = log
        self._page_limit = page_limit
        self._list_length = list_length
        self._incidents = Incidents(log, clock)
        kept = ledger.progress.requests
        now, wall = clock.monotonic_s(), clock.wall_s()
        spent = restored(kept, wall, now, boot_id()) if kept else []
        self._limiter = RateLimiter(settings.requests_per_minute, spent)
        self._api_clock = ApiClock(ledger.progress.skew_s)
        self._recorder = Recorder(
            ledger,
            Caps(
                settings.metrics.max_label_values,
                [*ledger.counters, *ledger.histograms, *ledger.in_flight],
                Choice(settings.metrics.labels, settings.metrics.duration_labels),
            ),
            self._incidents,
            clock,
            worker,
            log,
            page_rows=page_limit,
            log_failures=settings.log_failures,
            kept_requests=self._kept_requests,
            published=self._publish,
        )
        self._sender = Sender(
            api, self._limiter, self._api_clock, self._recorder, self._incidents, clock, rng
        )
        self._planner = Planner(rng)
        self._avoided = Avoided(self._poll.interval_s)
        self._values = KnownValues()
        self._begun: dict[TimeRange, _Begun] = {}
        self._traffic = Traffic()
        self._failures: defaultdict[str, FailureTraffic] = defaultdict(FailureTraffic)
        self._settling = SettlingTimes.from_list(ledger.progress.settling)
        self._page_rows = page_limit
        self._id_length = float(ID_LENGTH)
        self._most_ids = list_length
        self._behind_ms: deque[int] = deque(maxlen=BEHIND_POLLS)
        self._head_since_ms = ledger.progress.watermark_ms
        self._answers = 0
        self._started = False
        self._final_age_ms = self._situation().final_age_ms
        """By the last answer."""
        self._up: bool | None = None
        self._last_poll_s: float | None = None
        self.progressed_s = now
        self.snapshot: FeedSnapshot = self._show()

    @property
    def answered(self) -> bool:
        """Whether the API has been asked once and the request came to an end, well or not."""
        return self._sender.answered

    @property
    def unreached_s(self) -> float:
        """For how long the API has not been reached from here; 0 if the last request was answered, however."""
        since_s = self._sender.unreached_since_s
        return 0.0 if since_s is None else self._clock.monotonic_s() - since_s

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            began_s = self.progressed_s = self._clock.monotonic_s()
            await self.poll()
            await self._clock.sleep(began_s + self._poll.interval_s - self._clock.monotonic_s())

    async def poll(self) -> None:
        """One poll: no request is sent after `poll.interval`."""
        began_s = self._clock.monotonic_s()
        ends_s = began_s + self._poll.interval_s
        sent_before = self._sender.sent
        self._recorder.found = Found()
        well = False
        if await self._start(ends_s):
            await self._recorder.set_back(self._sender.bounds())
            await self._expire()
            well = await self._ask(ends_s)
            self._recorder.prune(self._sender.bounds())
        self._up = well
        self._last_poll_s = self._clock.wall_s()
        if self._api_clock.known:
            skew_s = self._api_clock.skew_s(self._clock.monotonic_s(), self._last_poll_s)
            self._recorder.move(skew_s=round(skew_s or 0.0, 1))
        if well:
            self._recorder.move(last_success_s=self._last_poll_s)
        self._publish()
        self._log.info(
            "poll",
            ok=self._is_up,
            new=self._recorder.found.new,
            settled=self._recorder.found.settled,
            in_flight=sum(self.snapshot.in_flight.values()),
            requests=self._sender.sent - sent_before,
            backlog_s=round(self.snapshot.backlog_ms / 1000),
            took_s=round(self._clock.monotonic_s() - began_s, 2),
        )

    # The start

    async def _start(self, ends_s: float) -> bool:
        """Learn the API's time before the first poll, and begin where a feed is new. False if no answer came."""
        if self._started:
            return True
        asked = 0
        newest = True
        while not self._api_clock.known and asked < TIMES_ASKED:
            if not await self._wait(ends_s):
                return False
            day_ago_ms = round(self._clock.wall_s() * 1000) - DAY_MS
            await self._reserve()
            try:
                await self._sender.send(
                    Query(limit=1) if newest else Query(day_ago_ms, day_ago_ms + 1, limit=1)
                )
            except RequestFailed as failure:
                newest = not newest  # the API may be unable to show the newest row
                self._sender.failed(failure)
                await self._recorder.commit()
                continue
            self._sender.succeeded()
            asked += 1
        self._started = True
        progress = self._recorder.progress
        if progress.filters != self.settings.filters:
            await self._filters_changed()
        if progress.begin_ms is None:
            now_ms = self._sender.bounds().earliest_ms
            lookback_ms = min(round(self._poll.lookback_s * 1000), LOG_KEEPS_MS - START_INSIDE_MS)
            begin_ms = now_ms - lookback_ms
            self._recorder.move(
                begin_ms=begin_ms,
                first_ms=begin_ms,
                watermark_ms=now_ms,
                unread=TimeRanges([(begin_ms, now_ms)]),
            )
            # Where counting begins is promised from here on, even to a process that is killed before it reads a page.
            await self._recorder.commit()
        return True

    async def _filters_changed(self) -> None:
        """What was read under other filters can't be held against the log any more."""
        cells = self._recorder.ledger.cells
        if len(cells):
            self._log.warning("filters have changed, time read before is not audited")
        await self._recorder.exempt_from_audit()
        self._recorder.move(filters=self.settings.filters)

    async def _wait(self, ends_s: float) -> bool:
        """Wait until a request may be sent. False if the poll is over first."""
        while (left_s := ends_s - self._clock.monotonic_s()) > 0:
            if await self._may_send(ends_s):
                return True
            wait_s = self._sender.wait_s()
            self.progressed_s = self._clock.monotonic_s()
            await self._clock.sleep(min(wait_s, left_s))
        return False

    async def _reserve(self) -> None:
        """Count the next request against the budget, for a process that is started after a kill, too."""
        await self._recorder.reserve()
        self._limiter.spend(self._clock.monotonic_s())

    # A poll's requests

    async def _ask(self, ends_s: float) -> bool:
        """Send the poll's requests. True if all of the head was read."""
        self._page_rows = min(self._page_limit, math.ceil(CAP_GROWTH * self._page_rows))
        self._most_ids = min(self._list_length, math.ceil(CAP_GROWTH * self._most_ids))
        situation = self._advance()
        jobs = deque(
            job for each in reversed(self._planner.head(situation)) for job in reversed(self._head_jobs(each))
        )
        quota = max(1.0, situation.requests_per_poll)
        running: dict[asyncio.Task[Answer], _Job] = {}
        head, given_up = len(jobs), 0
        try:
            while True:
                asked_all = False
                while len(running) < UNDER_WAY and await self._may_send(ends_s):
                    under_way = [each.request for each in running.values()]
                    job = await self._take_job(jobs, quota, under_way, head_read=head == given_up)
                    if job is None:
                        asked_all = True
                        break
                    await self._reserve()
                    quota -= 1
                    running[asyncio.ensure_future(self._sender.send(job.query))] = job
                if not running and (asked_all or not await self._wait(ends_s)):
                    break
                if running:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [each for each in running if each.done()]:
                    job = running.pop(task)
                    more = await self._finish(job, task, ends_s)
                    jobs.extendleft(more or ())
                    self.progressed_s = self._clock.monotonic_s()
                    if job.why is Why.HEAD and more is None:
                        given_up += 1
                    elif job.why is Why.HEAD:
                        head += len(more or ()) - 1
                        if head == 0:
                            self._head_read(situation)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return head == 0

    async def _may_send(self, ends_s: float) -> bool:
        """Whether a request may be sent now. Getting ready for it may take time."""
        return (
            self._clock.monotonic_s() < ends_s
            and self._sender.wait_s() == 0
            and await self._sender.prepare()
            and self._clock.monotonic_s() < ends_s
        )

    async def _take_job(
        self, jobs: deque[_Job], quota: float, under_way: Sequence[Request], *, head_read: bool
    ) -> _Job | None:
        """The next of `jobs`, to which comes, once the head was read, what the planner chooses."""
        if not jobs and head_read:
            jobs.extend(await self._next_jobs(quota, under_way))
        return jobs.popleft() if jobs else None

    def _head_read(self, situation: Situation) -> None:
        """All of the head was read: what it has found is the traffic."""
        new_ms = self._recorder.progress.watermark_ms - situation.watermark_ms
        self._traffic = self._traffic.observed(self._recorder.found.new, new_ms / 1000)

    def _advance(self) -> Situation:
        """The API's time has gone on since the last poll: there is more to read."""
        bounds = self._sender.bounds()
        progress = self._recorder.progress
        if self._sender.well > self._answers:  # else nothing has been read since the last poll
            self._answers, self._head_since_ms = self._sender.well, progress.watermark_ms
        before_ms = min(progress.watermark_ms, self._head_since_ms)
        self._recorder.advance(bounds.earliest_ms)
        latest_ms = bounds.earliest_ms - round(LATEST_POLLS * self._poll.interval_s * 1000)
        return self._situation(watermark_ms=max(before_ms, latest_ms))

    def _situation(self, watermark_ms: int | None = None) -> Situation:
        bounds = self._sender.bounds()
        progress = self._recorder.progress
        now_s = self._clock.monotonic_s()
        behind_ms = min(self._behind_ms, default=0)
        recent_ms = bounds.latest_ms - DAY_MS
        lateness_ms = max((late for at_ms, late in progress.lateness_ms if at_ms > recent_ms), default=0)
        return Situation(
            now_ms=bounds.earliest_ms - (behind_ms if behind_ms > BEHIND_MS else 0),
            latest_ms=bounds.latest_ms,
            watermark_ms=progress.watermark_ms if watermark_ms is None else watermark_ms,
            requests_per_minute=self._limiter.effective,
            interval_s=self._poll.interval_s,
            late_arrival_s=self._poll.late_arrival_s,
            cells=self._recorder.ledger.cells,
            # Nothing is proven of time that, for all that is known, has not come yet.
            # No answer can prove time that may have left the log: it would be asked for over and over.
            unread=progress.unread.below(bounds.earliest_ms)
            .above(bounds.latest_ms - LOG_KEEPS_MS)
            .without(self._avoided.resting(now_s)),
            settling=self._settling,
            certain=bounds.certain,
            rows_per_s=self._traffic.rows_per_s,
            failures_per_s={status: each.rows_per_s for status, each in self._failures.items()},
            page_rows=self._page_rows,
            ids_per_list=min(self._most_ids, max(1, int(self._list_length / (self._id_length + 1)))),
            widest_ms=self._avoided.widest_ms,
            may_look_up=self._avoided.may_use("messageId", now_s),
            may_ask_status=self._avoided.may_use("generalStatus", now_s),
            lateness_s=lateness_ms / 1000,
            missed_recently=progress.missed_ms is not None and progress.missed_ms > recent_ms,
        )

    async def _next_jobs(self, quota: float, under_way: Sequence[Request]) -> list[_Job]:
        """What the planner chooses; a range that is asked for in parts, the newest first."""
        while request := self._planner.next_request(self._situation(), quota, under_way):
            match request:
                case ReadRange():
                    jobs = self._range_jobs(request)[::-1]
                case AskNow():
                    jobs = self._head_jobs(request)
                case ReadStatus(general_status=status, range=wanted):
                    query = Query(*wanted, general_status=status, limit=self._page_limit)
                    jobs = [_Job(request.why, query, request)]
                case LookUp(cells=cells):
                    job = await self._look_up_job(request, cells)
                    jobs = [job] if job.ids else []
            if jobs:  # else all of it rests or has settled since the planner reckoned: it does not choose the same again
                return jobs
        return []

    def _head_jobs(self, request: ReadRange | AskNow) -> list[_Job]:
        if isinstance(request, ReadRange):
            return self._range_jobs(request)
        return [_Job(request.why, Query(request.range.since_ms, limit=self._page_limit), request)]

    def _range_jobs(self, request: ReadRange) -> list[_Job]:
        """A job for each part of the range in which it can be asked for, oldest first."""
        parts = [Part(each) for each in self._avoided.parts(request.range, self._clock.monotonic_s())]
        if request.open_ended:
            parts[-1:] = [Part(parts[-1].range if parts else request.range, open_ended=True)]
        return [
            self._part_job(request.why, each, ReadRange(request.why, each.range, each.open_ended))
            for each in parts
        ]

    def _part_job(self, why: Why, part: Part, request: Request) -> _Job:
        until_ms = None if part.open_ended else part.range.until_ms
        return _Job(why, Query(part.range.since_ms, until_ms, limit=self._page_limit), request, part)

    async def _look_up_job(self, request: LookUp, cells: Sequence[int]) -> _Job:
        """A query for the messages in flight of these cells, as many as fit a list."""
        table = self._recorder.ledger.cells
        wanted = [cell for since_ms in cells for cell in table.between(TimeRange(since_ms, since_ms + 1))]
        known = await self._recorder.known_in(wanted)
        by_cell: dict[int, list[str]] = {
            cell.since_ms: [who for who, at_ms in known.in_flight if cell.range.holds(at_ms)]
            for cell in wanted
        }
        ids: dict[str, None] = {}
        looked: list[int] = []
        for since_ms, of_cell in by_cell.items():
            new = [each for each in of_cell if each not in ids]
            if not self._fits([*ids, *new]):
                new = new if not ids else []
                while new and not self._fits(new):
                    new.pop()
                ids.update(dict.fromkeys(new))
                break
            ids.update(dict.fromkeys(new))
            looked.append(since_ms)
        if ids:
            self._id_length += 0.1 * (sum(map(len, ids)) / len(ids) - self._id_length)
        query = Query(message_ids=tuple(ids), limit=self._page_limit)
        return _Job(request.why, query, request, ids=frozenset(ids), looked=tuple(looked))

    def _fits(self, ids: Sequence[str]) -> bool:
        return len(ids) <= self._most_ids and sum(map(len, ids)) + len(ids) - 1 <= self._list_length

    # Answers

    async def _finish(self, job: _Job, task: "asyncio.Task[Answer]", ends_s: float) -> list[_Job] | None:
        """Record the answer, or take note of the failure.

        Returns what is to be asked for in its place, None where a part of the head is given up for this poll.
        """
        try:
            answer = task.result()
        except RequestFailed as failure:
            return self._failed(job, failure)
        if _ignores_bounds(job, answer.page, self._page_limit):
            self._sender.failed(RequestFailed("200", "the answer ignores sentSince and sentUntil"))
            return None
        self._sender.succeeded()
        match job.request:
            case LookUp():
                await self._looked_up(job, answer)
                return []
            case AskNow():
                await self._record(job, answer.page, self._sender.asked(answer), None)
                return []
            case ReadStatus(general_status=status, range=wanted):
                await self._read_status(job, answer, status, wanted)
                return []
            case _:
                return await self._read_part(job, answer, ends_s)

    def _failed(self, job: _Job, failure: RequestFailed) -> list[_Job] | None:
        """Take note of the failure. Returns as `_finish` does."""
        tells_of_query = failure.code not in (*REFUSED, THROTTLED, "", "connection")
        if tells_of_query and self._filter_failed(job):
            return []
        part, failed_before = job.part, False
        if tells_of_query and part is not None and not part.open_ended:
            failed_before = self._avoided.has_failed(part.range)
            self._avoided.range_failed(part.range, self._clock.monotonic_s(), self._sender.well)
        self._sender.failed(failure)
        if job.why is not Why.HEAD:
            return []
        if part is None or (part.open_ended and not tells_of_query):
            return [job]
        if part.open_ended:
            return self._with_an_end(job, part)
        jobs = self._range_jobs(ReadRange(job.why, part.range))
        if failed_before and [each.part for each in jobs] == [part]:
            return None  # nothing else was answered meanwhile, for all of the head waits for this: it is backlog now
        return jobs

    def _filter_failed(self, job: _Job) -> bool:
        """Whether the request had a filter: it is not used for a while, then."""
        now_s = self._clock.monotonic_s()
        if job.query.message_ids:
            self._avoided.filter_failed("messageId", now_s)
            self._planner.reckon_anew()
        elif job.query.general_status:
            self._avoided.filter_failed("generalStatus", now_s)
        return bool(job.query.message_ids or job.query.general_status)

    def _with_an_end(self, job: _Job, part: Part) -> list[_Job]:
        """The newest range, asked for up to the watermark and from there on.

        A row that the API can't show keeps all of it from being read, and what has an end can be narrowed.
        """
        since_ms, until_ms = part.range
        now_ms = self._recorder.progress.watermark_ms
        if since_ms >= now_ms:
            return [job]
        newest = ReadRange(job.why, TimeRange(now_ms, max(until_ms, now_ms + 1)), open_ended=True)
        return [
            *self._range_jobs(newest),
            *self._range_jobs(ReadRange(job.why, TimeRange(since_ms, now_ms))),
        ]

    async def _read_part(self, job: _Job, answer: Answer, ends_s: float) -> list[_Job]:
        part, page, asked = job.part, answer.page, self._sender.asked(answer)
        assert part is not None  # noqa: S101 - a range job has one
        self._note_rows(job, answer, asked)
        if is_full(page, self._page_limit) or may_be_capped(page, self._page_limit):
            return await self._split(job, part, answer, ends_s)
        proven = self._proven(part, asked)
        postponed = await self._record(job, page, asked, proven)
        self._avoided.range_read(part.range)
        if part.open_ended and proven is not None:
            self._recorder.advance(proven.until_ms)
        return [
            replace(self._part_job(job.why, Part(each), ReadRange(job.why, each)), postponed=True)
            for each in postponed
        ]

    async def _split(self, job: _Job, part: Part, answer: Answer, ends_s: float) -> list[_Job]:
        """An answer that proves nothing: count what it shows, and ask for less."""
        page, asked = answer.page, self._sender.asked(answer)
        parts = split(part, page, self._page_limit, asked.latest_ms)
        if not parts:
            whole = await self._read_oversized(job, part.range, page, asked, ends_s)
            return [] if whole else [job]
        await self._record(job, page, asked, None)
        if not is_full(page, self._page_limit):
            if page.rows == job.suspect_rows:
                self._page_rows = page.rows
            job = replace(job, suspect_rows=page.rows)
        return [
            replace(
                self._part_job(job.why, each, ReadRange(job.why, each.range, each.open_ended)),
                suspect_rows=job.suspect_rows,
                postponed=job.postponed,
            )
            for each in parts
        ]

    async def _read_oversized(
        self, job: _Job, wanted: TimeRange, first: Page, asked: Bounds, ends_s: float
    ) -> bool:
        """Read a millisecond that fills a page. False where the poll has ended meanwhile: the next that asks goes on."""
        begun = self._begun.pop(wanted, None)
        try:
            if begun is None:
                steps = read_millisecond(wanted, first, self._values, self._page_limit)
                begun = _Begun(steps, next(steps), asked)
            steps, query, asked = begun
            while True:
                if not await self._wait(ends_s):
                    self._begun[wanted] = _Begun(steps, query, asked)
                    return False
                await self._reserve()
                try:
                    answer = await self._sender.send(query)
                except RequestFailed as failure:
                    if not query.special or failure.code in (*REFUSED, THROTTLED, "", "connection"):
                        self._sender.failed(failure)
                        await self._recorder.commit()
                        continue
                    query = steps.throw(QueryRefused(str(failure)))
                else:
                    self._sender.succeeded()
                    query = steps.send(answer.page)
        except StopIteration as end:
            seen = end.value
        page = Page(list(seen.records), len(seen.records), list(seen.rejected))
        await self._record(job, page, asked, wanted, too_dense=not seen.whole, oversized=True)
        return True

    def _proven(self, part: Part, asked: Bounds) -> TimeRange | None:
        """What an answer that is not full has shown completely of the time that is counted.

        Not of that: what may have left the log, and what is to come.
        """
        edge_ms = self._sender.bounds().latest_ms - LOG_KEEPS_MS
        since_ms = max(part.range.since_ms, edge_ms, self._recorder.progress.begin_ms or 0)
        until_ms = asked.earliest_ms if part.open_ended else min(part.range.until_ms, asked.earliest_ms)
        until_ms = min(until_ms, since_ms + LOG_KEEPS_MS)  # a Date may be years ahead
        return TimeRange(since_ms, until_ms) if until_ms > since_ms else None

    async def _record(
        self,
        job: _Job,
        page: Page,
        asked: Bounds,
        proven: TimeRange | None,
        *,
        too_dense: bool = False,
        oversized: bool = False,
    ) -> list[TimeRange]:
        part = job.part
        self._final_age_ms = self._situation().final_age_ms
        records = page.records if part is None else [r for r in page.records if part.holds(r.sent_ms)]
        postponed = await self._recorder.record(
            Reading(
                replace(page, records=records),
                proven,
                asked,
                self._sender.bounds(),
                self._final_age_ms,
                late=job.why in (Why.BACKLOG, Why.LEAVING),
                head=job.why is Why.HEAD,
                too_dense=too_dense,
                oversized=oversized,
                only_in_flight=bool(job.ids),
                looked=job.looked,
                postpones=not job.postponed and not oversized,
            )
        )
        if self._recorder.durations_ms:
            self._settling = self._settling.observed(np.array(self._recorder.durations_ms) / 1000)
            self._recorder.durations_ms = []
            self._recorder.move(settling=tuple(self._settling.to_list()))
        return postponed

    async def _looked_up(self, job: _Job, answer: Answer) -> None:
        page = answer.page
        now_s = self._clock.monotonic_s()
        shown = {record.message_id for record in page.records}
        strangers = sum(record.message_id not in job.ids for record in page.records)
        if may_be_capped(page, self._page_limit) and shown != job.ids:
            self._most_ids = max(1, page.rows - 1)
            job = replace(job, looked=())
        elif 2 * strangers > page.rows or 2 * len(shown & job.ids) < len(job.ids):
            self._avoided.filter_failed("messageId", now_s)  # it takes no list of ids, or lacks most of them
            job = replace(job, looked=())
        else:
            self._avoided.filter_works("messageId")
        await self._record(job, page, self._sender.asked(answer), None)

    async def _read_status(self, job: _Job, answer: Answer, status: str, wanted: TimeRange) -> None:
        page = answer.page
        others = sum(record.kind.general_status != status for record in page.records)
        if 2 * others > page.rows:
            self._avoided.filter_failed("generalStatus", self._clock.monotonic_s())
        else:
            self._avoided.filter_works("generalStatus")
            if job.why is Why.FAILURES:  # the newest page, not one of a sweep further back
                self._failures[status] = self._failures[status].observed(
                    page.rows, wanted.length_ms / 1000, full=is_full(page, self._page_limit)
                )
        await self._record(job, page, self._sender.asked(answer), None)

    def _note_rows(self, job: _Job, answer: Answer, asked: Bounds) -> None:
        """What an answer tells of the traffic, the server's cap and its clocks."""
        page = answer.page
        if page.rows > self._page_rows:
            self._page_rows = self._page_limit
        if job.why is not Why.HEAD or not page.records:
            return
        newest_ms = max(record.sent_ms for record in page.records)
        is_new = newest_ms > (self._recorder.progress.last_sent_ms or 0)  # else nothing is sent at present
        if job.part is not None and job.part.open_ended and is_new:
            self._behind_ms.append(max(0, asked.earliest_ms - newest_ms))

    async def _expire(self) -> None:
        bounds = self._sender.bounds()
        await self._recorder.expire(bounds, round(self._poll.late_arrival_s * 1000))
        edge_ms = bounds.latest_ms - LOG_KEEPS_MS
        self._avoided.forget_before(edge_ms)
        self._begun = {wanted: begun for wanted, begun in self._begun.items() if wanted.since_ms > edge_ms}

    # What is shown

    def crashed(self, error: Exception) -> None:
        """The feed has met an unexpected error, or a ledger that it can't begin from."""
        if isinstance(error, LedgerError):
            self._incidents.began("state", str(error))
        else:
            self._incidents.began("feed", f"{type(error).__name__}: see the log")
        self._up = False
        self._publish()

    @property
    def _is_up(self) -> bool | None:
        """How the last poll went; a poll that gets no answer has failed long before it gives up."""
        return False if self._incidents.first else self._up

    def _kept_requests(self) -> Kept:
        now = self._clock.monotonic_s()
        return Kept(self._limiter.times(now), self._clock.wall_s(), now, boot_id())

    def _publish(self) -> None:
        self.progressed_s = self._clock.monotonic_s()
        self.snapshot = self._show()

    def _show(self) -> FeedSnapshot:
        ledger = self._recorder.ledger
        progress = ledger.progress
        now = self._clock.monotonic_s()
        by_hour: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for (hour, status), messages in ledger.settled_by_hour.items():
            by_hour[hour][status] = messages
        waiting = ledger.cells.table["oldest_in_flight_ms"][ledger.cells.table["in_flight"] > 0]
        return FeedSnapshot(
            account=self.settings.account,
            channel=self.settings.channel,
            counters=ledger.counters,
            histograms=ledger.histograms,
            in_flight=ledger.in_flight,
            oldest_in_flight_ms=int(waiting.min()) if len(waiting) else None,
            last_sent_ms=progress.last_sent_ms,
            up=self._is_up,
            last_poll_s=self._last_poll_s,
            last_success_s=self._recorder.progress.last_success_s,
            read_up_to_ms=progress.read_up_to_ms,
            backlog_ms=progress.unread.total_ms,
            requests_per_minute=self._limiter.effective,
            requests_last_minute=len(self._limiter.times(now)),
            clock_skew_s=self._api_clock.skew_s(now, self._clock.wall_s()),
            incident=self._incidents.first,
            last_incident=self._incidents.last,
            final_age_s=self._final_age_ms / 1000 if progress.begin_ms is not None else None,
            verified_up_to_ms=self._verified_up_to_ms(),
            by_hour=dict(by_hour),
        )

    def _verified_up_to_ms(self) -> int | None:
        """The sent time up to which each cell was read whole at least twice, once at or after the final age."""
        ledger = self._recorder.ledger
        if ledger.progress.begin_ms is None:
            return None
        table = ledger.cells.table
        open_cells = np.flatnonzero(~table["final"] | (table["auditable"] & (table["reads"] < 2)))
        if len(open_cells) == 0 or open_cells[0] == 0:
            return None
        up_to_ms = int(table["since_ms"][open_cells[0]])
        unread = ledger.progress.unread
        return min(up_to_ms, unread.ranges[0].since_ms) if unread else up_to_ms


def _ignores_bounds(job: _Job, page: Page, limit: int) -> bool:
    """Whether most records of an answer that may hold some back were sent at other times than asked for."""
    part = job.part
    if part is None or not (is_full(page, limit) or may_be_capped(page, limit)):
        return False
    inside = replace(part, range=TimeRange(part.range.since_ms - 1, part.range.until_ms + 1))
    beside = [record for record in page.records if not inside.holds(record.sent_ms)]
    return 2 * len(beside) > page.rows
