"""Steady traffic made by arithmetic, and what it costs the real feed to count it: the worlds of `simulation.report`.

Rates are run at full size or, with `scale` above 1, as small copies: so many times fewer messages, on pages and lists
of ids as many times shorter. Traffic here is even, so the copy asks what the original would ask.
"""

import math
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from statistics import NormalDist
from typing import cast
from unittest.mock import patch

from structlog.typing import FilteringBoundLogger

from infobip_exporter.config.schema import Config, Poll
from infobip_exporter.counting.count import Counting
from infobip_exporter.feed import Feed, recorder
from infobip_exporter.feed import feed as feed_module
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.infobip.query import MAX_LIST_LENGTH, PAGE_LIMIT, Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics import catalog
from infobip_exporter.model.record import Answer, Kind, Page, Record
from infobip_exporter.reading import looks, outlook
from simulation.time import VirtualTime
from simulation.trace import Trace, TraceLog
from simulation.world import BEGINS_MS

INTERVAL_S = 30.0
LATE_S = 120.0
REQUESTS_PER_MINUTE = 120
SIGMA = 0.5
"""Settling times are lognormal: the standard deviation of their logarithm."""
ID_LENGTH = 36
SAMPLES = 4000
"""About how many messages of the measured stretch are followed."""
_TIMES = 4096
_SCATTER = 2654435761
_OUTCOMES = ("DELIVERED", "DELIVERED", "DELIVERED", "UNDELIVERABLE", "EXPIRED")


@dataclass(frozen=True, slots=True)
class Case:
    """A rate, a settling time, and how long the run warms up and is measured; `scale` as in the module's docstring."""

    per_second: float
    settle_s: float
    warm_h: float
    measured_h: float
    scale: int = 1

    @property
    def page_limit(self) -> int:
        return PAGE_LIMIT // self.scale

    @property
    def rate_per_ms(self) -> float:
        return self.per_second / self.scale / 1000


class SteadyLog:
    """Message number n is sent at n / rate, and a part of that later. Nothing is kept: all of it is worked out anew."""

    def __init__(self, case: Case) -> None:
        self._rate = case.rate_per_ms
        self._limit = case.page_limit
        normal = NormalDist()
        median_ms = case.settle_s * 1000
        self._settle_ms = [
            round(median_ms * math.exp(SIGMA * normal.inv_cdf((n + 0.5) / _TIMES))) for n in range(_TIMES)
        ]
        self._pending = Kind("PENDING", "OK", "shop", "web", "EUR", Decimal("0.1"), 1)
        self._final = [Kind(outcome, "OK", "shop", "web", "EUR", Decimal("0.1"), 1) for outcome in _OUTCOMES]

    def settles_ms(self, number: int) -> int:
        return self.sent_ms(number) + self._settle_ms[number * _SCATTER % (1 << 32) >> 20]

    def sent_ms(self, number: int) -> int:
        return BEGINS_MS + int((number + (number * _SCATTER >> 7) % 512 / 512) / self._rate)

    def first_from(self, moment_ms: int) -> int:
        """The number of the first message sent at `moment_ms` or later."""
        number = max(0, int((moment_ms - BEGINS_MS) * self._rate) - 2)
        while self.sent_ms(number) < moment_ms:
            number += 1
        return number

    def page(self, question: Query, now_ms: int) -> Page:
        """The answer at `now_ms`: at most so many of the newest in the asked range, newest first."""
        if question.message_ids:
            numbers: Iterable[int] = map(int, question.message_ids)
        else:
            since_ms = max(question.since_ms or 0, now_ms - LOG_KEEPS_MS, BEGINS_MS)
            until_ms = min(question.until_ms if question.until_ms is not None else now_ms, now_ms)
            last = self.first_from(until_ms + 1)
            first = max(self.first_from(since_ms - 1), last - min(question.limit, self._limit))
            numbers = range(last - 1, first - 1, -1)
        records = [self.record(number, now_ms) for number in numbers]
        return Page(records, len(records))

    def record(self, number: int, now_ms: int) -> Record:
        sent_ms = self.sent_ms(number)
        settles_ms = sent_ms + self._settle_ms[number * _SCATTER % (1 << 32) >> 20]
        name = f"{number:0{ID_LENGTH}d}"
        if settles_ms > now_ms:
            return Record(name, sent_ms, None, self._pending, "sender")
        return Record(name, sent_ms, settles_ms, self._final[number % len(_OUTCOMES)], "sender")


@dataclass(slots=True)
class SteadyApi:
    log: SteadyLog
    time: VirtualTime
    rng: Random
    requests: int = 0

    def has_new_key(self) -> bool:
        return False

    def ask(self, question: Query) -> Answer:
        began_s = self.time.now_s
        self.time.advance(self.rng.uniform(0.01, 0.04))
        now_ms = self.time.api_ms
        page = self.log.page(question, now_ms)
        self.requests += 1
        self.time.advance(self.rng.uniform(0.05, 0.2))
        return Answer(page, now_ms // 1000 * 1000, self.time.now_s - began_s)


@dataclass(slots=True)
class Followed:
    """When each followed message was first counted, and when its outcome was, by the API's clock."""

    every: int
    time: VirtualTime
    counted_ms: dict[int, int] = field(default_factory=dict)
    settled_ms: dict[int, int] = field(default_factory=dict)

    def see(self, records: Iterable[Record]) -> None:
        now_ms = self.time.api_ms
        for record in records:
            number = int(record.message_id)
            if number % self.every == 0:
                self.counted_ms.setdefault(number, now_ms)
                if record.kind.final:
                    self.settled_ms.setdefault(number, now_ms)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one case came to. Ages and lags in seconds, `requests` and `fewest` for each poll interval."""

    case: Case
    requests: float
    fewest: float
    counted_s: tuple[float, float]
    """Age when first counted: half of the messages and 99 % of them at most."""
    outcome_s: tuple[float, float]
    """From settling to the outcome being counted."""
    lag_s: float
    """The worst lag of the last half."""
    backlog_grows: bool
    state_bytes: int
    exact: bool
    naive_sent: float
    """The part of the messages that a naive poller counts; above 1 when it counts some twice."""
    naive_outcomes: float


def measure(case: Case) -> Measured:
    """Run the real feed on steady traffic; a last stretch of `measured_h` hours counts."""
    shorter = MAX_LIST_LENGTH // case.scale
    with (
        patch.object(feed_module, "PAGE_LIMIT", case.page_limit),
        patch.object(looks, "MAX_LIST_LENGTH", shorter),
        patch.object(outlook, "MAX_LIST_LENGTH", shorter),
    ):
        return _measure(case)


def _measure(case: Case) -> Measured:
    warm_s, ends_s = case.warm_h * 3600, (case.warm_h + case.measured_h) * 3600
    time = VirtualTime(BEGINS_MS, math.inf)
    log = SteadyLog(case)
    api = SteadyApi(log, time, Random(1))
    connection = sqlite3.connect(":memory:", isolation_level=None)
    store = Store(connection, "memory")
    store.migrate()
    ledger = Ledger(store, "main", "instagram")
    messages = case.rate_per_ms * 1000 * case.measured_h * 3600
    followed = Followed(max(1, round(messages / SAMPLES)), time)

    class FollowedCounting(Counting):
        def first_reads(self, records: Iterable[Record]) -> None:
            records = list(records)
            super().first_reads(records)
            followed.see(records)

        def looks(self, records: Iterable[Record]) -> None:
            records = list(records)
            super().looks(records)
            followed.see(records)

    with patch.object(recorder, "Counting", FollowedCounting):
        config = Config(accounts=(), poll=Poll(INTERVAL_S, 0.0, LATE_S, 10.0))
        quiet = cast("FilteringBoundLogger", TraceLog(Trace()))
        feed = Feed("main", "instagram", config, REQUESTS_PER_MINUTE, api, ledger, time, Random(2), quiet)
        begin_ms = _begin(feed)
        lags: list[tuple[float, float]] = []
        before = 0
        while time.now_s < ends_s:
            if time.now_s < warm_s:
                before = api.requests
            began_s = time.now_s
            feed.poll()
            time.sleep(began_s + INTERVAL_S - time.now_s)
            lags.append((time.now_s, (time.api_ms - (feed.snapshot.read_up_to_ms or 0)) / 1000))
    intervals = case.measured_h * 3600 / INTERVAL_S
    middle_s = (warm_s + ends_s) / 2
    first = max((lag for at_s, lag in lags if warm_s <= at_s < middle_s), default=0.0)
    last = max(lag for at_s, lag in lags if at_s >= middle_s)
    naive_sent, naive_outcomes = naive(case, log, warm_s, ends_s)
    return Measured(
        case=case,
        requests=(api.requests - before) / intervals,
        fewest=max(1.0, case.per_second * INTERVAL_S / PAGE_LIMIT),
        counted_s=_freshness(followed, log, case),
        outcome_s=_outcomes(followed, log, case),
        lag_s=last,
        backlog_grows=last > 1.05 * first + INTERVAL_S,
        state_bytes=_state_bytes(connection, case.scale),
        exact=_is_exact(ledger, log, begin_ms),
        naive_sent=naive_sent,
        naive_outcomes=naive_outcomes,
    )


def _begin(feed: Feed) -> int:
    feed.poll()
    progress = feed._recorder.progress  # noqa: SLF001 - where counting began is told nowhere else
    spans = (*progress.unread, *progress.open)
    assert progress.frontier_ms is not None
    return min((span.since_ms for span in spans), default=progress.frontier_ms)


def _is_exact(ledger: Ledger, log: SteadyLog, begin_ms: int) -> bool:
    """Whether just the messages of the time that was read are counted."""
    progress = ledger.progress
    sent = sum(int(n) for series, n in ledger.counters.items() if series.family == catalog.SENT.name)
    assert progress.frontier_ms is not None
    truth = log.first_from(progress.frontier_ms) - log.first_from(begin_ms)
    truth -= sum(
        log.first_from(until_ms) - log.first_from(since_ms) for since_ms, until_ms in progress.unread
    )
    return sent == truth and not any(s.family == catalog.LOST.name for s in ledger.counters)


def _freshness(followed: Followed, log: SteadyLog, case: Case) -> tuple[float, float]:
    """Of the messages that were first counted in the measured stretch."""
    first_ms = _measured_from_ms(case)
    return _half_and_nearly_all(
        [
            (counted_ms - log.sent_ms(number)) / 1000
            for number, counted_ms in followed.counted_ms.items()
            if counted_ms >= first_ms
        ]
    )


def _outcomes(followed: Followed, log: SteadyLog, case: Case) -> tuple[float, float]:
    """Of the messages whose outcome was counted in the measured stretch."""
    first_ms = _measured_from_ms(case)
    return _half_and_nearly_all(
        [
            (counted_ms - log.settles_ms(number)) / 1000
            for number, counted_ms in followed.settled_ms.items()
            if counted_ms >= first_ms
        ]
    )


def _measured_from_ms(case: Case) -> int:
    return BEGINS_MS + round(case.warm_h * 3_600_000)


def _half_and_nearly_all(ages: list[float]) -> tuple[float, float]:
    ages.sort()
    return (ages[len(ages) // 2], ages[int(len(ages) * 0.99)]) if ages else (math.nan, math.nan)


def _state_bytes(connection: sqlite3.Connection, scale: int) -> int:
    """What the database takes up when it is packed, with its messages at the full size."""
    whole = _packed(connection)
    connection.execute("DELETE FROM message")
    rest = _packed(connection)
    return rest + scale * (whole - rest)


def _packed(connection: sqlite3.Connection) -> int:
    connection.execute("VACUUM")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return int(pages * connection.execute("PRAGMA page_size").fetchone()[0])


def naive(case: Case, log: SteadyLog, begins_s: float, ends_s: float) -> tuple[float, float]:
    """The parts of the messages and of the outcomes that a naive overlap poller counts, restarted once in between.

    Each poll asks [last poll - 2 min, now), a page and no more, knows ids until it is restarted, and looks at no
    message twice.
    """
    known_up_to = log.first_from(BEGINS_MS + round(begins_s * 1000))
    begun = known_up_to
    sent = outcomes = 0
    polls = round((ends_s - begins_s) / INTERVAL_S)
    for poll in range(1, polls + 1):
        now_ms = BEGINS_MS + round((begins_s + poll * INTERVAL_S) * 1000)
        last = log.first_from(now_ms)
        since_ms = now_ms - round((INTERVAL_S + LATE_S) * 1000)
        if poll == polls // 2:
            known_up_to = 0
        first = max(last - case.page_limit, log.first_from(since_ms), begun, known_up_to)
        sent += last - first
        outcomes += sum(log.settles_ms(number) <= now_ms for number in range(first, last))
        known_up_to = last
    truth = max(1, known_up_to - begun)
    return sent / truth, outcomes / truth
