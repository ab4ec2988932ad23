"""What an answer means for what comes next: counted, and what is still to be asked for in its place."""

import asyncio
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import NamedTuple

from infobip_exporter.counting.cells_after import Reading
from infobip_exporter.errors import RequestFailed
from infobip_exporter.feed.avoided import Avoided
from infobip_exporter.feed.clock import Clock
from infobip_exporter.feed.jobs import Job, Jobs
from infobip_exporter.feed.learnt import Learnt
from infobip_exporter.feed.recorder import Recorder
from infobip_exporter.feed.sender import REFUSED, THROTTLED, Sender
from infobip_exporter.infobip.clock import Bounds
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.record import Answer, Page, Records
from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.oversized import KnownValues, Millisecond, QueryRefused, read_millisecond
from infobip_exporter.planning.planner import Planner
from infobip_exporter.planning.range_read import Part, ignores_bounds, is_full, may_be_capped, split
from infobip_exporter.planning.requests import AskNow, LookUp, ReadRange, ReadStatus, Why

_NOT_OF_THE_QUERY = (*REFUSED, THROTTLED, "", "connection")
"""Failures that another query would meet as well."""


class _Begun(NamedTuple):
    """A read of an oversized millisecond: its next query, and the API's now when the first was asked."""

    steps: Generator[Query, Page, Millisecond]
    query: Query
    asked: Bounds


class Answers:
    """Takes the answers of one feed, one at a time. `final_age_ms` tells the final age in force."""

    def __init__(
        self,
        recorder: Recorder,
        sender: Sender,
        planner: Planner,
        avoided: Avoided,
        learnt: Learnt,
        jobs: Jobs,
        clock: Clock,
        final_age_ms: Callable[[], int],
    ) -> None:
        self._recorder = recorder
        self._sender = sender
        self._planner = planner
        self._avoided = avoided
        self._learnt = learnt
        self._jobs = jobs
        self._clock = clock
        self._final_age_ms = final_age_ms
        self._page_limit = learnt.page_limit
        self._values = KnownValues()
        self._begun: dict[TimeRange, _Begun] = {}
        self._status_asked_ms = 0
        """When the newest question by status was asked that has been recorded."""

    async def finish(self, job: Job, task: "asyncio.Task[Answer]") -> list[Job] | None:
        """Record the answer, or take note of the failure.

        Returns what is to be asked for in its place, None where a part of the head is given up for this poll.
        """
        try:
            answer = task.result()
        except RequestFailed as failure:
            return self._failed(job, failure)
        if job.part and ignores_bounds(job.part, answer.page, self._page_limit):
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
                return await self._read_part(job, answer)

    def _failed(self, job: Job, failure: RequestFailed) -> list[Job] | None:
        """Take note of the failure. Returns as `finish` does."""
        tells_of_query = failure.code not in _NOT_OF_THE_QUERY
        if tells_of_query and self._filter_failed(job):
            return []
        part, failed_before = job.part, False
        if tells_of_query and part is not None and not part.open_ended:
            failed_before = self._avoided.has_failed(part.range)
            self._avoided.range_failed(part.range, self._clock.monotonic_s(), self._sender.well)
        self._sender.failed(failure)
        if job.why is not Why.HEAD or (job.postponed and failed_before):
            return []  # what is postponed keeps no time from being read
        if part is None or job.postponed or (part.open_ended and not tells_of_query):
            return [job]
        if part.open_ended:
            return self._with_an_end(job, part)
        jobs = self._jobs.of_range(ReadRange(job.why, part.range))
        if failed_before and [each.part for each in jobs] == [part]:
            return None  # nothing else was answered meanwhile, for all of the head waits for this: it is backlog now
        return jobs

    def _filter_failed(self, job: Job) -> bool:
        """Whether the request had a filter: it is not used for a while, then."""
        now_s = self._clock.monotonic_s()
        if job.query.message_ids:
            self._avoided.filter_failed("messageId", now_s)
            self._planner.reckon_anew()
        elif job.query.general_status:
            self._avoided.filter_failed("generalStatus", now_s)
        return bool(job.query.message_ids or job.query.general_status)

    def _with_an_end(self, job: Job, part: Part) -> list[Job]:
        """The newest range, asked for up to the watermark and from there on.

        A row that the API can't show keeps all of it from being read, and what has an end can be narrowed.
        """
        since_ms, until_ms = part.range
        now_ms = self._recorder.progress.watermark_ms
        if since_ms >= now_ms:
            return [job]
        newest = ReadRange(job.why, TimeRange(now_ms, max(until_ms, now_ms + 1)), open_ended=True)
        return [
            *self._jobs.of_range(newest),
            *self._jobs.of_range(ReadRange(job.why, TimeRange(since_ms, now_ms))),
        ]

    async def _read_part(self, job: Job, answer: Answer) -> list[Job]:
        part, page, asked = job.part, answer.page, self._sender.asked(answer)
        assert part is not None  # noqa: S101 - a range job has one
        self._note_rows(job, part, answer, asked)
        if is_full(page, self._page_limit) or may_be_capped(page, self._page_limit):
            return await self._split(job, part, answer)
        if job.why is Why.HEAD:
            now_ms = (asked.earliest_ms + asked.latest_ms) // 2
            until_ms = now_ms if part.open_ended else min(part.range.until_ms, now_ms)
            self._learnt.saw_of_head(page.records.sent_ms, part.range._replace(until_ms=until_ms))
        proven = self._proven(part, asked)
        postponed = await self._record(job, page, asked, proven)
        self._avoided.range_read(part.range)
        if part.open_ended and proven is not None:
            self._recorder.advance(proven.until_ms)
        return [replace(self._jobs.of_part(job.why, Part(each)), postponed=True) for each in postponed]

    async def _split(self, job: Job, part: Part, answer: Answer) -> list[Job]:
        """An answer that proves nothing: count what it shows, and ask for less."""
        page, asked = answer.page, self._sender.asked(answer)
        parts = split(part, page, self._page_limit, asked.latest_ms)
        if not parts:
            whole = await self._read_oversized(job, part.range, page, asked)
            return [] if whole else [job]
        await self._record(job, page, asked, None)
        if not is_full(page, self._page_limit):
            if page.rows == job.suspect_rows:
                self._learnt.page_rows = page.rows
            job = replace(job, suspect_rows=page.rows)
        jobs = (self._jobs.of_part(job.why, each) for each in parts)
        return [replace(each, suspect_rows=job.suspect_rows, postponed=job.postponed) for each in jobs]

    async def _read_oversized(self, job: Job, wanted: TimeRange, first: Page, asked: Bounds) -> bool:
        """Read a millisecond that fills a page. False where the poll has ended meanwhile: the next that asks goes on."""
        begun = self._begun.pop(wanted, None)
        try:
            if begun is None:
                steps = read_millisecond(wanted, first, self._values, self._page_limit)
                begun = _Begun(steps, next(steps), asked)
            steps, query, asked = begun
            while True:
                if not await self._sender.wait_for_turn():
                    self._begun[wanted] = _Begun(steps, query, asked)
                    return False
                await self._sender.reserve()
                try:
                    answer = await self._sender.send(query)
                except RequestFailed as failure:
                    if not query.special or failure.code in _NOT_OF_THE_QUERY:
                        self._sender.failed(failure)
                        await self._recorder.commit()
                        continue
                    query = steps.throw(QueryRefused(str(failure)))
                else:
                    self._sender.succeeded()
                    query = steps.send(answer.page)
        except StopIteration as end:
            seen = end.value
        page = Page(Records.of(seen.records), len(seen.records), list(seen.rejected))
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
        job: Job,
        page: Page,
        asked: Bounds,
        proven: TimeRange | None,
        *,
        too_dense: bool = False,
        oversized: bool = False,
    ) -> list[TimeRange]:
        # What an answer shows beside the time asked for may be what the account's filters leave out.
        records = page.records.where(job.query.holds(page.records.sent_ms))
        postponed = await self._recorder.record(
            Reading(
                replace(page, records=records),
                proven,
                asked,
                self._sender.bounds(),
                self._final_age_ms(),
                late=job.why in (Why.BACKLOG, Why.LEAVING),
                head=job.why is Why.HEAD,
                too_dense=too_dense,
                oversized=oversized,
                only_in_flight=bool(job.ids),
                looked=job.looked,
                postpones=not job.postponed and not oversized,
                readable=self._readable,
                audits=asked.earliest_ms > self._status_asked_ms,
            )
        )
        if len(self._recorder.durations_ms):
            self._learnt.settled(self._recorder.durations_ms / 1000)
            self._recorder.durations_ms = self._recorder.durations_ms[:0]
            self._recorder.move(settling=tuple(self._learnt.settling.to_list()))
        return postponed

    def _readable(self, wanted: TimeRange) -> bool:
        """Whether the API is asked for the whole range at once at present."""
        return self._avoided.parts(wanted, self._clock.monotonic_s()) == [wanted]

    async def _looked_up(self, job: Job, answer: Answer) -> None:
        page = answer.page
        now_s = self._clock.monotonic_s()
        shown = set(page.records.message_ids)
        strangers = sum(message_id not in job.ids for message_id in page.records.message_ids)
        capped = may_be_capped(page, self._page_limit) and shown != job.ids
        if 2 * strangers > page.rows or (2 * len(shown & job.ids) < len(job.ids) and not capped):
            self._avoided.filter_failed("messageId", now_s)  # it takes no list of ids, or lacks most of them
            job = replace(job, looked=())
        elif capped:
            self._learnt.most_ids = max(1, page.rows - 1)
            job = replace(job, looked=())
        else:
            self._avoided.filter_works("messageId")
        await self._record(job, page, self._sender.asked(answer), None)

    async def _read_status(self, job: Job, answer: Answer, status: str, wanted: TimeRange) -> None:
        page, asked = answer.page, self._sender.asked(answer)
        self._status_asked_ms = max(self._status_asked_ms, asked.earliest_ms)
        others = sum(record.kind.general_status != status for record in page.records)
        if 2 * others > page.rows:
            self._avoided.filter_failed("generalStatus", self._clock.monotonic_s())
        else:
            self._avoided.filter_works("generalStatus")
            if job.why is Why.FAILURES:  # the newest page, not one of a sweep further back
                self._learnt.failures[status] = self._learnt.failures[status].observed(
                    page.rows, wanted.length_ms / 1000, full=is_full(page, self._page_limit)
                )
        await self._record(job, page, asked, None)

    def _note_rows(self, job: Job, part: Part, answer: Answer, asked: Bounds) -> None:
        """What an answer tells of the traffic, the server's cap and its clocks."""
        page = answer.page
        self._learnt.saw_rows(page.rows)
        if job.why is not Why.HEAD or not page.records:
            return
        newest_ms = int(page.records.sent_ms.max())
        is_new = newest_ms > (self._recorder.progress.last_sent_ms or 0)  # else nothing is sent at present
        if part.open_ended and is_new:
            self._learnt.saw_newest(asked.earliest_ms - newest_ms)

    def forget_before(self, edge_ms: int) -> None:
        """Let go of what has left the log."""
        self._begun = {wanted: begun for wanted, begun in self._begun.items() if wanted.since_ms > edge_ms}
