"""The real feed on plain traffic, in virtual time: how fresh its counts are, and what they cost. For `simulation.report`.

Messages turn up in the log within 2 s and settle after lognormal times. Rates are run at full size or, with `scale`
above 1, as small copies: so many times fewer messages, on pages and lists of ids as many times shorter. The traffic of a copy is even, so that its pages are as full as the original's.
"""

import asyncio
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, ClassVar, TypeVar, cast
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from structlog.typing import FilteringBoundLogger

from infobip_exporter.config.schema import Metrics, Poll
from infobip_exporter.feed.answers import Answers
from infobip_exporter.feed.feed import Feed
from infobip_exporter.feed.settings import Settings
from infobip_exporter.infobip.query import PAGE_LIMIT, Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.metrics import catalog
from infobip_exporter.model.channels import MAX_LIST_LENGTH
from infobip_exporter.model.record import Answer, Kind, Page, Record, Records
from infobip_exporter.planning import prospects, situation
from infobip_exporter.planning.planner import Planner
from infobip_exporter.planning.requests import Why
from simulation.loop import VirtualLoop
from simulation.time import WorldTime
from simulation.trace import Trace, TraceLog
from simulation.world import BEGINS_MS

T = TypeVar("T")
INTERVAL_S = 30.0
REQUESTS_PER_MINUTE = 100
VISIBLE_S = 2.0
"""Messages turn up in the log after 0 to so many seconds."""
SIGMA = 0.5
"""Settling times are lognormal: the standard deviation of their logarithm."""
FAILING = 0.05
FAILURES = ("REJECTED", "REJECTED", "UNDELIVERABLE", "UNDELIVERABLE", "EXPIRED")
BURST_S, BURST_EVERY_S = 60, 600
ROW_BYTES = 600
"""Of a row's JSON, about."""
ID_LENGTH = 36
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Case:
    """Traffic, and how long a run warms up and is measured.

    `burst` is by how much the traffic is higher for a minute of every ten. `backlog_h` is how much of the log is unread
    at the start. `all_fail` makes every message fail. A request takes `answer_s`.
    """

    per_second: float
    settle_s: float
    warm_h: float = 1.4
    measured_h: float = 0.5
    scale: int = 1
    burst: int = 1
    backlog_h: float = 0.0
    all_fail: bool = False
    answer_s: float = 0.2

    @property
    def starts_s(self) -> float:
        return self.backlog_h * 3600

    @property
    def measured_s(self) -> float:
        return self.starts_s + self.warm_h * 3600

    @property
    def ends_s(self) -> float:
        return self.measured_s + self.measured_h * 3600


class PlainLog:
    """The log of a case: one array for each property of its messages, which are numbered by sent time."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(1)
        sent_s = _sent_s(case, rng)
        count = len(sent_s)
        self.sent_ms: NDArray[np.int64] = BEGINS_MS + (sent_s * 1000).astype(np.int64)
        settle_s = case.settle_s * np.exp(SIGMA * rng.standard_normal(count))
        self.done_ms = self.sent_ms + (settle_s * 1000).astype(np.int64)
        self.visible_ms = self.sent_ms + rng.integers(0, round(VISIBLE_S * 1000), count)
        self.fails = rng.random(count) < (1.0 if case.all_fail else FAILING)
        self.status = np.where(self.fails, rng.integers(1, len(FAILURES) + 1, count), 0)
        self.shown_ms = np.full(count, NEVER)
        """When each message was first in an answer,"""
        self.shown_final_ms = np.full(count, NEVER)
        """and when first with its final status."""
        self._pending = _kind("PENDING")
        self._final = [_kind("DELIVERED"), *map(_kind, FAILURES)]
        self._statuses = np.array(["DELIVERED", *FAILURES])
        self._limit = PAGE_LIMIT // case.scale

    def page(self, query: Query, now_ms: int, arrives_ms: int) -> Page:
        """The answer at `now_ms`: at most so many of the newest in the asked range, newest first."""
        if query.message_ids:
            numbers = np.array([int(each) for each in query.message_ids])
        else:
            first = np.searchsorted(self.sent_ms, (query.since_ms or 0) - 1)
            last = np.searchsorted(self.sent_ms, query.until_ms or now_ms, side="right")
            numbers = np.arange(first, last)
        numbers = numbers[self.visible_ms[numbers] <= now_ms]
        if query.general_status:
            settled = self.done_ms[numbers] <= now_ms
            numbers = numbers[settled & (self._statuses[self.status[numbers]] == query.general_status)]
        numbers = numbers[-min(query.limit, self._limit) :][::-1]
        records = [self._record(number, now_ms) for number in numbers.tolist()]
        if query.since_ms is not None and not query.general_status:
            # Of a range, a row beside what was asked for is not counted.
            sent_ms = self.sent_ms[numbers]
            numbers = numbers[(sent_ms >= query.since_ms) & (sent_ms < (query.until_ms or NEVER))]
        settled = numbers[self.done_ms[numbers] <= now_ms]
        self.shown_ms[numbers] = np.minimum(self.shown_ms[numbers], arrives_ms)
        self.shown_final_ms[settled] = np.minimum(self.shown_final_ms[settled], arrives_ms)
        return Page(Records.of(records), len(records))

    def _record(self, number: int, now_ms: int) -> Record:
        sent_ms, done_ms = int(self.sent_ms[number]), int(self.done_ms[number])
        name = f"{number:0{ID_LENGTH}d}"
        if done_ms > now_ms:
            return Record(name, sent_ms, None, self._pending, "")
        return Record(name, sent_ms, done_ms, self._final[self.status[number]], "")


def _sent_s(case: Case, rng: np.random.Generator) -> NDArray[np.float64]:
    rate, ends_s = case.per_second / case.scale, case.ends_s
    if case.burst > 1:
        minutes = np.arange(0, ends_s, BURST_S)
        rates = np.where(minutes % BURST_EVERY_S == BURST_EVERY_S / 2, rate * case.burst, rate)
        counts = rng.poisson(rates * BURST_S)
        sent = [
            minute + rng.uniform(0, BURST_S, count) for minute, count in zip(minutes, counts, strict=True)
        ]
        return np.sort(np.concatenate(sent))
    if case.scale > 1:
        count = int(rate * ends_s)
        return np.asarray((np.arange(count) + rng.random(count)) / rate)
    return np.sort(rng.uniform(0, ends_s, rng.poisson(rate * ends_s)))


def _kind(status: str) -> Kind:
    return Kind(status, "OK", status, "NO_ERROR", "false", "shop", "web", "EUR", Decimal("0.1"), 1)


@dataclass(slots=True)
class PlainApi:
    log: PlainLog
    time: WorldTime
    rng: Random
    answer_s: float
    requests: int = 0
    rows: int = 0

    async def prepare(self) -> None:
        """Nothing."""

    def has_new_key(self) -> bool:
        return False

    def now_ms(self) -> int:
        return self.time.begins_ms + round(self.time.now_s * 1000)

    async def fetch(self, query: Query) -> Answer:
        self.requests += 1
        asked_s = self.time.monotonic_s()
        there_s, back_s = (self.rng.uniform(0.4, 0.6) * self.answer_s for _ in range(2))
        await asyncio.sleep(there_s)
        now_ms = self.now_ms()
        page = self.log.page(query, now_ms, now_ms + round(back_s * 1000))
        self.rows += page.rows
        await asyncio.sleep(back_s)
        received_s = self.time.monotonic_s()
        return Answer(page, now_ms // 1000 * 1000, received_s - asked_s, asked_s, received_s)


class Inline:
    """Work is done at once."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()


class PlainClock:
    def __init__(self, world_time: WorldTime) -> None:
        self.wall_s = world_time.wall_s
        self.monotonic_s = world_time.monotonic_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class TimedPlanner(Planner):
    """The real planner, with the CPU time that it takes."""

    took_s = 0.0
    asked = 0

    def head(self, *args: Any) -> Any:
        return self._timed(super().head, *args)

    def next_request(self, *args: Any) -> Any:
        return self._timed(super().next_request, *args)

    def _timed(self, work: Callable[..., Any], *args: Any) -> Any:
        began_s = time.process_time()
        result = work(*args)
        TimedPlanner.took_s += time.process_time() - began_s
        TimedPlanner.asked += 1
        return result


class CountedAnswers(Answers):
    """The real answers; what their requests were for is counted."""

    by_why: ClassVar[Counter[Why]] = Counter()

    async def finish(self, job: Any, *args: Any) -> Any:
        self.by_why[job.why] += 1
        return await super().finish(job, *args)


Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a case came to. Pairs are the age in seconds of half and of 99 % of the messages at most, of those
    counted in the measured stretch, but for the backlog.

    `requests` are those of a poll, in `by_why` for each purpose. `backlog_min` is how long the backlog took, inf where
    it is still there, and `backlog_ratio` the requests for it, in pages of its messages.
    """

    case: Case
    sent: Pair
    settled: Pair
    failed: Pair
    requests: float
    by_why: dict[str, float]
    bytes_a_day: float
    state_bytes: float
    lag_s: float
    plan_ms: float
    cpu_s: float
    backlog_min: float
    backlog_ratio: float
    problems: list[str] = field(default_factory=list)


def measure(case: Case) -> Measured:
    """Run the real feed on the traffic of `case`."""
    page_rows = PAGE_LIMIT // case.scale
    with ExitStack() as stack:
        if case.scale > 1:
            # Small pages as full as large ones, and as many outcomes for a request.
            margin = situation.MARGIN * math.sqrt(page_rows / PAGE_LIMIT)
            stack.enter_context(patch.object(situation, "MARGIN", margin))
            few = prospects.FEWEST_OUTCOMES / case.scale
            stack.enter_context(patch.object(prospects, "FEWEST_OUTCOMES", few))
        stack.enter_context(patch("infobip_exporter.feed.feed.Planner", TimedPlanner))
        TimedPlanner.took_s, TimedPlanner.asked = 0.0, 0
        stack.enter_context(patch("infobip_exporter.feed.feed.Answers", CountedAnswers))
        CountedAnswers.by_why = Counter()
        return _Run(case).measured()


class _Run:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.time = WorldTime(BEGINS_MS)
        self.time.advance(case.starts_s)
        self.log = PlainLog(case)
        self.api = PlainApi(self.log, self.time, Random(1), case.answer_s)
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        store = SqliteStore(self.connection, "memory")
        store.create_tables()
        self.ledger = Ledger(store, "main", "instagram")
        poll = Poll(interval_s=INTERVAL_S, lookback_s=case.backlog_h * 3600)
        settings = Settings("main", "instagram", poll, Metrics(), REQUESTS_PER_MINUTE)
        self.feed = Feed(
            settings,
            self.api,
            self.ledger,
            PlainClock(self.time),
            Inline(),
            Random(2),
            cast("FilteringBoundLogger", TraceLog(Trace())),
            page_limit=PAGE_LIMIT // case.scale,
            list_length=MAX_LIST_LENGTH // case.scale,
        )
        self._live = self.log.sent_ms >= BEGINS_MS + round(case.starts_s * 1000)
        self.lags: list[float] = []
        self.backlog_min, self.backlog_requests = math.inf, 0

    def measured(self) -> Measured:
        case = self.case
        began_s = time.process_time()
        loop = VirtualLoop(self.time)
        loop.run_until_complete(self._poll_until(case.measured_s))
        requests, rows, by_why = self.api.requests, self.api.rows, CountedAnswers.by_why.copy()
        self.lags.clear()
        loop.run_until_complete(self._poll_until(case.ends_s))
        loop.close()
        polls = case.measured_h * 3600 / INTERVAL_S
        return Measured(
            case,
            self._ages(self.log.sent_ms, self.log.shown_ms, self._live),
            self._ages(self.log.done_ms, self.log.shown_final_ms, self._live),
            self._ages(self.log.done_ms, self.log.shown_final_ms, self._live & self.log.fails),
            (self.api.requests - requests) / polls,
            {
                why.value: (n - by_why[why]) / polls
                for why, n in CountedAnswers.by_why.items()
                if n > by_why[why]
            },
            (self.api.rows - rows) * case.scale * ROW_BYTES * 24 / case.measured_h,
            self._state_bytes(),
            max(self.lags),
            TimedPlanner.took_s * 1000 / max(1, TimedPlanner.asked),
            time.process_time() - began_s,
            self.backlog_min,
            self.backlog_requests * PAGE_LIMIT / max(1.0, case.per_second * case.starts_s),
            self._problems(),
        )

    async def _poll_until(self, ends_s: float) -> None:
        """Poll until `ends_s`, as `Feed.run` does."""
        start_ms = BEGINS_MS + round(self.case.starts_s * 1000)
        while self.time.now_s < ends_s:
            began_s = self.time.now_s
            await self.feed.poll()
            progress = self.ledger.progress
            if self.backlog_min == math.inf and not progress.unread.below(start_ms):
                self.backlog_min = (self.time.now_s - self.case.starts_s) / 60
                self.backlog_requests = (
                    CountedAnswers.by_why[Why.BACKLOG] + CountedAnswers.by_why[Why.LEAVING]
                )
            self.lags.append((self.api.now_ms() - (progress.read_up_to_ms or 0)) / 1000)
            await asyncio.sleep(max(0.0, began_s + INTERVAL_S - self.time.now_s))

    def _ages(self, from_ms: NDArray[np.int64], to_ms: NDArray[np.int64], which: NDArray[np.bool_]) -> Pair:
        """Of the messages that were counted in the measured stretch."""
        first_ms = BEGINS_MS + round(self.case.measured_s * 1000)
        which = which & (to_ms >= first_ms) & (to_ms != NEVER)
        ages_s = (to_ms[which] - from_ms[which]) / 1000
        if len(ages_s) == 0:
            return math.nan, math.nan
        half, most = np.quantile(ages_s, (0.5, 0.99))
        return float(half), float(most)

    def _state_bytes(self) -> float:
        """What the database takes up when it is packed, with its messages at the full size."""
        whole = self._packed()
        for table in ("settled", "in_flight"):
            self.connection.execute(f"DELETE FROM {table}")  # noqa: S608 - two names of tables
        rest = self._packed()
        return rest + self.case.scale * (whole - rest)

    def _packed(self) -> int:
        self.connection.execute("VACUUM")
        pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
        return int(pages * self.connection.execute("PRAGMA page_size").fetchone()[0])

    def _problems(self) -> list[str]:
        """Where the counts differ from the log."""
        progress, log = self.ledger.progress, self.log
        begin_ms = progress.begin_ms or 0
        shown = (log.shown_ms != NEVER) & (log.sent_ms >= begin_ms)
        final = (log.shown_final_ms != NEVER) & (log.sent_ms >= begin_ms)
        due = (log.sent_ms >= begin_ms) & (log.sent_ms < progress.watermark_ms - 60_000)
        for since_ms, until_ms in progress.unread:
            due &= (log.sent_ms < since_ms) | (log.sent_ms >= until_ms)
        found = {
            "sent": (self._total(catalog.SENT.name), int(shown.sum())),
            "settled": (self._total(catalog.MESSAGES.name), int(final.sum())),
            "in flight": (sum(self.ledger.in_flight.values()), int((shown & ~final).sum())),
            "missed though read": (int((due & ~shown).sum()), 0),
            "lost": (self._total(catalog.LOST.name), 0),
        }
        for result in ("missed", "vanished", "recovered"):
            found[result] = (self._total(catalog.AUDIT.name, result), 0)
        return [
            f"{what}: {counted} instead of {true}"
            for what, (counted, true) in found.items()
            if counted != true
        ]

    def _total(self, family: str, result: str = "") -> int:
        return sum(
            int(n)
            for series, n in self.ledger.counters.items()
            if series.family == family and (not result or ("result", result) in series.labels)
        )
