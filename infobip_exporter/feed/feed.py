"""The poll loop: the newest time first, then whatever is worth asking for most, until the poll's share is spent."""

import asyncio
from collections import deque
from collections.abc import Sequence
from random import Random

from structlog.typing import FilteringBoundLogger

from infobip_exporter.errors import LedgerError
from infobip_exporter.feed.answers import Answers
from infobip_exporter.feed.avoided import Avoided
from infobip_exporter.feed.clock import Clock, Worker
from infobip_exporter.feed.expiry import expire, set_back
from infobip_exporter.feed.incidents import Incidents
from infobip_exporter.feed.jobs import Job, Jobs
from infobip_exporter.feed.learnt import Learnt
from infobip_exporter.feed.recorder import Found, Recorder
from infobip_exporter.feed.sender import Api, Sender
from infobip_exporter.feed.settings import Settings, caps_of
from infobip_exporter.feed.shown import show
from infobip_exporter.feed.situations import Situations
from infobip_exporter.feed.start import begin, learn_time
from infobip_exporter.infobip.clock import ApiClock
from infobip_exporter.infobip.query import MAX_LIST_LENGTH, PAGE_LIMIT
from infobip_exporter.infobip.rate_limit import Kept, RateLimiter, boot_id, restored
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.record import Answer
from infobip_exporter.planning.planner import Planner
from infobip_exporter.planning.requests import Request, Why
from infobip_exporter.planning.situation import OVERLAP_MS

UNDER_WAY = 4
"""Requests of a feed at once: at 0.2 s a request, what a minute allows is asked for within six seconds. At 2 s a
request 99 % of the failures at 3/s are counted within 38 s; one at a time within 54 s."""


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
        self._boot_id = boot_id()
        self._log = log
        self._incidents = Incidents(log, clock)
        kept = ledger.progress.requests
        now, wall = clock.monotonic_s(), clock.wall_s()
        spent = restored(kept, wall, now, self._boot_id) if kept else []
        self._limiter = RateLimiter(settings.requests_per_minute, spent)
        self._api_clock = ApiClock(ledger.progress.skew_s)
        self._recorder = Recorder(
            ledger,
            caps_of(settings.metrics, ledger),
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
        self._learnt = Learnt(ledger.progress.settling, page_limit, list_length)
        self._jobs = Jobs(self._recorder, self._avoided, self._learnt, clock)
        self._situations = Situations(
            self._poll, self._recorder, self._sender, self._avoided, self._learnt, clock
        )
        self._answers = Answers(
            self._recorder,
            self._sender,
            self._planner,
            self._avoided,
            self._learnt,
            self._jobs,
            clock,
            self._reckon_final_age_ms,
        )
        self._started = False
        self._final_age_ms = self._situations.now().final_age_ms
        """By the last answer."""
        self._up: bool | None = None
        self._last_poll_s: float | None = None
        self._progressed_s = now
        self.snapshot: FeedSnapshot = self._show()

    @property
    def answered(self) -> bool:
        """Whether the API has been asked once and the request came to an end, well or not."""
        return self._sender.answered

    @property
    def interval_s(self) -> float:
        """From one poll to the next."""
        return self._situations.interval_s

    @property
    def progressed_s(self) -> float:
        """When the feed's work last made progress, by the monotonic clock."""
        return max(self._progressed_s, self._sender.progressed_s)

    @property
    def unreached_s(self) -> float:
        """For how long the API has not been reached from here; 0 if the last request was answered, however."""
        since_s = self._sender.unreached_since_s
        return 0.0 if since_s is None else self._clock.monotonic_s() - since_s

    async def run(self) -> None:
        """Poll until cancelled."""
        if self.interval_s > self._poll.interval_s:
            self._log.warning(
                "requests_per_minute is too low for poll.interval, polling less often",
                interval_s=round(self.interval_s, 1),
            )
        while True:
            began_s = self._progressed_s = self._clock.monotonic_s()
            interval_s = self.interval_s
            await self.poll()
            await self._clock.sleep(began_s + interval_s - self._clock.monotonic_s())

    async def poll(self) -> None:
        """One poll: no request is sent after `interval_s`."""
        began_s = self._clock.monotonic_s()
        interval_s = self.interval_s
        self._sender.poll_begins(began_s + interval_s, interval_s)
        sent_before = self._sender.sent
        self._recorder.found = Found()
        well = False
        if await self._start():
            await set_back(self._recorder, self._sender.bounds())
            await self._expire()
            well = await self._ask()
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

    async def _start(self) -> bool:
        """False if no answer has told the API's time before the first poll has ended."""
        if not self._started and await learn_time(self._sender, self._recorder, self._clock):
            await begin(self._recorder, self.settings, self._sender.bounds().earliest_ms, self._log)
            self._started = True
        return self._started

    # A poll's requests

    async def _ask(self) -> bool:
        """Send the poll's requests. True if all of the head was read."""
        self._learnt.poll_begins()
        situation = self._situations.advance()
        self._learnt.head_begins(situation.watermark_ms - OVERLAP_MS)
        requests = reversed(self._planner.head(situation))
        jobs = deque(job for each in requests for job in reversed(self._jobs.of_head(each)))
        quota = max(1.0, situation.requests_per_poll)
        running: dict[asyncio.Task[Answer], Job] = {}
        head, given_up = len(jobs), 0
        try:
            while True:
                asked_all = False
                while len(running) < UNDER_WAY and await self._sender.may_send():
                    under_way = [each.request for each in running.values()]
                    job = await self._take_job(jobs, quota, under_way, head_read=head == given_up)
                    if job is None:
                        asked_all = True
                        break
                    await self._sender.reserve()
                    quota -= 1
                    running[asyncio.ensure_future(self._sender.send(job.query))] = job
                if not running and (asked_all or not await self._sender.wait_for_turn()):
                    break
                if running:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [each for each in running if each.done()]:
                    job = running.pop(task)
                    more = await self._answers.finish(job, task)
                    jobs.extendleft(more or ())
                    self._progressed_s = self._clock.monotonic_s()
                    if job.why is Why.HEAD and more is None:
                        given_up += 1
                    elif job.why is Why.HEAD:
                        head += len(more or ()) - 1
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if head == 0:
            new_ms = self._recorder.progress.watermark_ms - situation.watermark_ms
            self._learnt.head_read(self._recorder.found.head_new, situation, new_ms)
        else:
            self._learnt.head_not_read()
        return head == 0

    async def _take_job(
        self, jobs: deque[Job], quota: float, under_way: Sequence[Request], *, head_read: bool
    ) -> Job | None:
        """The next of `jobs`, to which comes, once the head was read, what the planner chooses."""
        if not jobs and head_read:
            jobs.extend(await self._next_jobs(quota, under_way))
        return jobs.popleft() if jobs else None

    def _reckon_final_age_ms(self) -> int:
        self._final_age_ms = self._situations.now().final_age_ms
        return self._final_age_ms

    async def _next_jobs(self, quota: float, under_way: Sequence[Request]) -> list[Job]:
        """What the planner chooses."""
        while request := self._planner.next_request(self._situations.now(), quota, under_way):
            jobs = await self._jobs.of(request)
            if jobs:  # else all of it rests or has settled since the planner reckoned: it does not choose the same again
                return jobs
        return []

    async def _expire(self) -> None:
        bounds = self._sender.bounds()
        await expire(self._recorder, bounds, round(self._poll.late_arrival_s * 1000))
        edge_ms = bounds.latest_ms - LOG_KEEPS_MS
        self._avoided.forget_before(edge_ms)
        self._answers.forget_before(edge_ms)

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
        return Kept(self._limiter.times(now), self._clock.wall_s(), now, self._boot_id)

    def _publish(self) -> None:
        self._progressed_s = self._clock.monotonic_s()
        self.snapshot = self._show()

    def _show(self) -> FeedSnapshot:
        progress = self._recorder.ledger.progress
        now = self._clock.monotonic_s()
        return show(
            self._recorder.ledger,
            account=self.settings.account,
            channel=self.settings.channel,
            up=self._is_up,
            last_poll_s=self._last_poll_s,
            last_success_s=self._recorder.progress.last_success_s,
            requests_per_minute=self._limiter.effective,
            requests_last_minute=len(self._limiter.times(now)),
            clock_skew_s=self._api_clock.skew_s(now, self._clock.wall_s()),
            incident=self._incidents.first,
            last_incident=self._incidents.last,
            final_age_s=self._final_age_ms / 1000 if progress.begin_ms is not None else None,
        )
