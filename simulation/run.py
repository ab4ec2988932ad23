"""One run: a world, the process that lives in it, and what came of it."""

import asyncio
import math
import sqlite3
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import cast
from unittest.mock import patch

from structlog.typing import FilteringBoundLogger

import infobip_exporter.feed.feed as feed_module
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed.feed import Feed
from infobip_exporter.feed.settings import Settings
from infobip_exporter.infobip.query import MAX_LIST_LENGTH, PAGE_LIMIT
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.labels import read_on_request
from infobip_exporter.model.series import Series
from infobip_exporter.model.time_range import TimeRanges
from infobip_sandbox import asked
from infobip_sandbox.faults import FaultyLog
from infobip_sandbox.log import SimulatedLog
from infobip_sandbox.message import Message
from infobip_sandbox.world import World
from simulation import check, oracle
from simulation.api import SimulatedApi
from simulation.check import Guard, WatchedLedger
from simulation.crash import Fate, InlineWorker, Killed, MortalConnection, Process
from simulation.dates import Knowable, Told
from simulation.loop import VirtualLoop
from simulation.oddities import make_strange
from simulation.scrapes import Scraper
from simulation.time import ApiTime, WorldTime
from simulation.trace import Trace, TraceLog
from simulation.violation import Violated
from simulation.world import BEGINS_MS, FeedWorld, SimulatedWorld, draw

SHORTEST_S = 1e-6
"""Time always goes on: the loop takes what is a billionth of a second away for due already."""
FIRST_GAPS_S = 3 * 3600.0
LONGEST_GAP_S = 8 * 3600.0
"""How long a poll is put off at most where nothing happens: a process may be held up, and a run gets short by it. At
first, while late records turn up and cells become final, it is less."""
QUIET_AFTER = 5
"""After so many polls without success nothing happens either."""
UNSHOWABLE_MS = 3000
"""How much time a row that the API can't show may keep from being read."""
LAST_ASK_S = 360.0
"""How long before a message in flight leaves the log there are no such gaps."""
SHORTEST_LISTS_PAGE = 150
"""The page whose share of the longest list still holds a few ids."""
DOUBT_MS = 3 * 3_600_000
"""How long a wrong time may still be believed after the last wrong Date."""
REQUESTS_WAITING = 40
RESTART_AFTER_S = 5.0
LAST_UP_S = 600.0
"""The process is up at the end, so that what it has to tell is told."""
SILENT_POLLS = 3
LONGEST_BACKOFF_S = 310.0
"""After a request that the API refused nothing may be asked for so long."""


class Ended(Exception):
    """The world of a feed has come to its end."""


@dataclass(slots=True)
class Outcome:
    """What came of a seed. `problems` is empty when everything held."""

    seed: int
    problems: list[str] = field(default_factory=list)
    messages: int = 0
    requests: int = 0
    commits: int = 0
    polls: int = 0
    kills: int = 0
    lost_ms: int = 0

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: {self.messages} messages, {self.requests} requests, {self.commits} commits,"
        )
        head += f" {self.polls} polls, {self.kills} kills, {self.lost_ms / 1000:g} s lost"
        if not self.problems:
            return head
        lines = "\n".join(f"  {problem}" for problem in self.problems[:20])
        more = f"\n  and {len(self.problems) - 20} more" if len(self.problems) > 20 else ""
        return f"{head}: FAILED\n{lines}{more}\n  replay: python -m simulation --seed {self.seed} --trace"


def run(seed: int, write: Callable[[str], None] | None = None) -> Outcome:
    """Live through the world of `seed`; with `write`, tell of everything that happens, a line each."""
    return run_world(draw(seed), write)


def run_world(world: SimulatedWorld, write: Callable[[str], None] | None = None) -> Outcome:
    outcome = Outcome(world.seed)
    life = Life(world, write)
    try:
        with patch.object(asked, "LONGEST_LIST", _shortened(asked.LONGEST_LIST, world)):
            life.live()
        for lived in life.feeds:
            outcome.problems += lived.differences()
    except Violated as violated:
        outcome.problems.append(f"{life.now()}: {violated}")
        life.trace("VIOLATED", violated)
    except Exception:  # noqa: BLE001 - whatever it was, the seed that shows it is to be told
        outcome.problems.append(f"{life.now()}: the feed crashed\n{traceback.format_exc(limit=-6)}")
    for lived in life.feeds:
        outcome.messages += len(lived.messages)
        outcome.requests += lived.api.requests
        outcome.commits += lived.guard.commits
        outcome.polls += len(lived.polls)
        outcome.lost_ms += lived.guard.lost.total_ms
    outcome.kills = life.fate.kills
    return outcome


def _shortened(list_length: int, world: SimulatedWorld) -> int:
    return list_length * max(world.page_limit, SHORTEST_LISTS_PAGE) // PAGE_LIMIT


class SimulatedClock:
    """The clocks of the machine."""

    def __init__(self, time: WorldTime) -> None:
        self.wall_s = time.wall_s
        self.monotonic_s = time.monotonic_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(SHORTEST_S, seconds))


class Life:
    """The process, through all its deaths, and the database that outlives it."""

    def __init__(self, world: SimulatedWorld, write: Callable[[str], None] | None) -> None:
        self.world = world
        self.time = WorldTime(BEGINS_MS, world.wall_steps, world.suspends)
        self.trace = Trace(write, self.now)
        self.rng = Random(f"life {world.seed}")
        self.fate = Fate(
            Random(f"fate {world.seed}"),
            self.trace,
            self.time,
            world.kill_every,
            world.most_kills,
            world.disk_full,
            world.statements_fail,
            world.slowest_commit_s,
        )
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        SqliteStore(self.connection, "memory").create_tables()
        self.feeds = [LivedFeed(self, feed_world) for feed_world in world.feeds]
        self.ends_s = max(feed.ends_s for feed in world.feeds)

    def now(self) -> str:
        return f"{self.time.now_s:.3f}"

    def live(self) -> None:
        """The process runs, dies and is started again, until the world has come to its end."""
        while any(not lived.ended for lived in self.feeds):
            process = Process()
            loop = VirtualLoop(self.time)
            boots = self.time.boots
            with patch.object(feed_module, "boot_id", lambda boots=boots: f"boot {boots}"):
                try:
                    loop.run_until_complete(self._process(process))
                except Killed:
                    self._down()
                finally:
                    process.alive = False
                    loop.abandon()
                    self.connection.rollback()

    async def _process(self, process: Process) -> None:
        """One life of the process. Everything it knows comes from the database."""
        await asyncio.gather(*(self._feed(lived, process) for lived in self.feeds if not lived.ended))

    async def _feed(self, lived: "LivedFeed", process: Process) -> None:
        try:
            while True:
                try:
                    feed = lived.begin(process)
                    break
                except LedgerError as error:
                    self.trace("restart", error)
                    await asyncio.sleep(RESTART_AFTER_S)
            await feed.run()
        except Ended:
            lived.ended = True

    def store(self, process: Process) -> SqliteStore:
        return SqliteStore(
            cast("sqlite3.Connection", MortalConnection(self.connection, self.fate, process)), "memory"
        )

    def _down(self) -> None:
        left_s = max(0.0, self.ends_s - self.time.now_s - LAST_UP_S)
        down_s = self.rng.choice((0.0, min(self.world.longest_down_s, left_s) * self.rng.random()))
        if self.world.away_s and self.fate.kills == 1:
            down_s = min(self.world.away_s, left_s)
        self.time.advance(down_s)
        if self.rng.random() < 0.3:
            self.time.reboot()


class LivedFeed:
    """One feed of the process, its world, and what is kept of it for the oracle."""

    waiting_at_a_kill = REQUESTS_WAITING
    """Requests that may wait for a commit then."""

    def __init__(self, life: Life, feed_world: FeedWorld) -> None:
        seed = f"{life.world.seed} {feed_world.channel}"
        self.life = life
        self.world = feed_world
        self.time = ApiTime(life.time, feed_world.api_steps)
        generated = World(
            feed_world.traffic,
            seed,
            begins_ms=feed_world.traffic_from_ms,
            ends_ms=feed_world.traffic_until_ms,
        ).between(feed_world.traffic_from_ms, feed_world.traffic_until_ms)
        self.messages, self.moved = make_strange(
            list(generated), feed_world.oddities, feed_world.traffic_until_ms, Random(f"oddities {seed}")
        )
        self.log = SimulatedLog(World(messages=self.messages), feed_world.ways[0][1], Random(f"log {seed}"))
        poll = life.world.config.poll
        self.interval_s = poll.interval_s
        self.api = SimulatedApi(
            log=FaultyLog(self.log, feed_world.faults, Random(f"faults {seed}")),
            time=self.time,
            fate=life.fate,
            rng=Random(f"network {seed}"),
            trace=life.trace,
            filters=feed_world.filters,
            timeout_s=poll.timeout_s,
            budget=feed_world.budget,
            told=Told(feed_world.dates, Random(f"dates {seed}")),
            ways=feed_world.ways,
        )
        self.guard = Guard(
            self.time,
            self.api.history,
            life.trace,
            stored=self._stored,
            late_ms=round(poll.late_arrival_s * 1000),
            clock_error_ms=feed_world.dates.error_ms,
            timeout_ms=round(poll.timeout_s * 1000),
            is_misled=lambda: bool(self.api.told.misled()),
        )
        self.scraper = Scraper(life.time, feed_world.hold_s)
        self._scrapes = Random(f"scrapes {seed}")
        self.polls: list[oracle.Poll] = []
        self.ended = False
        self.lives = 0
        self._silent: deque[bool] = deque(maxlen=SILENT_POLLS)
        self._gaps = Random(f"gaps {seed}")
        self._was_certain = False
        self._slept_s = 0.0
        self._gap_ended_s = 0.0
        self._began_s = 0.0
        self._knowable = Knowable()

    def begin(self, process: Process) -> "WatchedFeed":
        self.lives += 1
        self._was_certain = False
        self._began_s = self.life.time.run_s
        self._knowable.process_began(self._began_s, self.api.answered)
        world = self.life.world
        self.api.process = process
        self.ledger = WatchedLedger(self.life.store(process), "main", self.world.channel, self.guard)
        self.scraper.begin(self.ledger)
        return WatchedFeed(
            self.settings(),
            self.api,
            self.ledger,
            SimulatedClock(self.life.time),
            InlineWorker(self.life.fate, process),
            Random(f"feed {world.seed} {self.world.channel} {self.lives}"),
            cast("FilteringBoundLogger", TraceLog(self.life.trace)),
            page_limit=world.page_limit,
            list_length=_shortened(MAX_LIST_LENGTH, world),
        ).watched_by(self)

    def settings(self) -> Settings:
        """The configuration of this life; another may choose other labels."""
        world = self.life.world
        choice = world.choices[(self.lives - 1) % len(world.choices)]
        metrics = replace(world.config.metrics, labels=choice.labels, duration_labels=choice.duration_labels)
        self.api.labels = read_on_request((*choice.labels, *choice.duration_labels), self.world.channel)
        return Settings("main", self.world.channel, world.config.poll, metrics, self.world.budget)

    def _stored(self) -> Ledger:
        return Ledger(SqliteStore(self.life.connection, "memory"), "main", self.world.channel)

    # After each poll

    def polled(self, feed: Feed, before: "Before") -> None:
        snapshot = feed.snapshot
        self._be_scraped(snapshot)
        eager = snapshot.requests_last_minute >= 0.5 * snapshot.requests_per_minute
        well = bool(snapshot.up)
        time = self.life.time
        knew = self._knowable.known
        self._knowable.polled(self.time.now_ms() / 1000, time.wall_s(), time.run_s, self.api.answered)
        knows = knew and self._knowable.known
        self.polls.append(oracle.Poll(before.at_ms, self.time.now_ms(), well, eager, knows))
        if well and self.api.answered == before.answered:
            raise Violated("up is 1 after a poll without an answer")
        self._ends_in_time(before)
        self._goes_on_asking(before, eager=eager)
        is_certain = feed._sender.bounds().certain  # noqa: SLF001 - shown nowhere else
        slept_s = self.life.time.now_s - self.life.time.run_s
        if slept_s != self._slept_s:  # what was certain was so before the machine slept
            self._was_certain, self._slept_s = False, slept_s
        self.guard.poll_ended(before.at_ms, certain=well and is_certain and self._was_certain)
        self._was_certain = is_certain

    def _be_scraped(self, snapshot: FeedSnapshot) -> None:
        """Now and then a scraper comes along, and what it was shown is saved."""
        if self._scrapes.random() < self.world.scrape_share:
            self.scraper.scrape(snapshot)
        if self._scrapes.random() < self.world.scrape_share:
            with suppress(LedgerError):
                self.scraper.save_released()

    def _ends_in_time(self, before: "Before") -> None:
        took_s = self.life.time.run_s - before.run_s
        longest_s = before.interval_s + self.life.world.config.poll.timeout_s + 1
        if took_s > longest_s and self.life.fate.writes_failed == before.writes_failed:
            raise Violated(f"a poll took {took_s:.1f} s")

    def _goes_on_asking(self, before: "Before", *, eager: bool) -> None:
        excused = (
            self.api.requests > before.requests
            or eager
            or self.life.fate.writes_failed > before.writes_failed
            or self.life.time.now_s < max(self.api.barred_until_s, self.api.failed_s + LONGEST_BACKOFF_S)
        )
        self._silent.append(excused)
        if len(self._silent) == SILENT_POLLS and not any(self._silent):
            raise Violated(f"nothing was asked in {SILENT_POLLS} polls")

    async def be_held_up(self) -> None:
        """Where nothing happens, time goes by faster. Raises Ended when all is over."""
        now_s = self.life.time.now_s
        if now_s >= self.life.ends_s:
            if self._has_come_to_rest():
                raise Ended
            return
        quiet_for_s = (self.time.now_ms() - self.world.traffic_until_ms) / 1000
        longest_s = min(max(FIRST_GAPS_S, quiet_for_s / 2), LONGEST_GAP_S)
        gap_s = min(self._quiet_s(), self._gaps.uniform(600, longest_s))
        if gap_s > self.interval_s:
            await asyncio.sleep(gap_s)
            self._gap_ended_s = self.life.time.run_s

    def _has_come_to_rest(self) -> bool:
        """Whether the process has polled for long enough since it began, was held up, or time jumped, to know that."""
        time, world = self.life.time, self.life.world
        rest_s = (
            max(10 * self.interval_s, LAST_UP_S)
            if not world.wall_steps
            else max(25 * self.interval_s, 2400.0)
        )
        jumps_s = (each.at_s for each in world.suspends if each.at_s <= time.run_s)
        return time.run_s - max([self._began_s, self._gap_ended_s, *jumps_s]) >= rest_s

    def _quiet_s(self) -> float:
        """How long all that may still happen is that messages in flight settle, and cells become final."""
        now_ms = self.time.now_ms()
        progress = self.ledger.progress
        if now_ms < self.world.traffic_until_ms + 300_000 or self.api.told.is_wrong or not self._was_certain:
            return 0.0
        if not any(poll.well for poll in self.polls[-QUIET_AFTER:]):
            return LONGEST_GAP_S
        if progress.unread.total_ms > UNSHOWABLE_MS * self.world.oddities.unshowable:
            return 0.0
        table = self.ledger.cells.table
        waiting = table["oldest_in_flight_ms"][table["in_flight"] > 0]
        if not len(waiting):
            return math.inf
        return (int(waiting.min()) + LOG_KEEPS_MS - now_ms) / 1000 - LAST_ASK_S - 4 * self.interval_s

    # At the end

    def differences(self) -> list[str]:
        """What the ledger says at the end that the world does not, and the other way round."""
        ledger = self._stored()
        check.mirrors(ledger, ledger)
        check.conserves(ledger.counters, ledger.in_flight)
        begin_ms, watermark_ms = self.guard.begin_ms, ledger.progress.watermark_ms
        if begin_ms is None:
            return [f"{self.world.channel}: never began"]
        evidence = oracle.Evidence(
            begin_ms=begin_ms,
            watermark_ms=watermark_ms,
            lost=self.guard.lost,
            history=self.api.history,
            sent_ms=[message.sent_ms for message in self.messages],
            page_limit=self.life.world.page_limit,
            finals=self.guard.finals,
            audits=self.guard.audits,
            polls=self.polls,
            interval_ms=round(self.interval_s * 1000),
            label_cap=self.life.world.config.metrics.max_label_values,
            clock_error_ms=self.guard.clock_error_ms,
            withheld=self.log.withheld,
            moved=self.moved,
            short=any(ways.short_share for _, ways in self.world.ways),
            doubtful=self._doubtful(),
            channel=self.world.channel,
            quirks=self.world.ways[0][1],
            choices=self.life.world.choices[: self.lives],
        )
        inside = [message for message in self.messages if begin_ms <= message.sent_ms < watermark_ms]
        counted = [message for message in inside if self._passes(message)]
        others = [message for message in inside if not self._passes(message)]
        others += [message for message in self.messages if message.sent_ms < begin_ms]
        problems = oracle.compare(counted, others, evidence, ledger.counters, ledger.histograms)
        problems += oracle.audited(counted, evidence, ledger.counters)
        problems += oracle.needless(inside, evidence)
        problems += _left(ledger.in_flight)
        problems += self._uncounted_requests(ledger)
        return [f"{self.world.channel}: {problem}" for problem in problems]

    def _doubtful(self) -> TimeRanges:
        """Sent time of which nobody can tell: what was in the log, or came, while a wrong time was believed."""
        return TimeRanges(
            (first_ms - LOG_KEEPS_MS, last_ms + max(0, ahead_ms) + DOUBT_MS)
            for first_ms, last_ms, ahead_ms in self.api.told.misled()
        )

    def _uncounted_requests(self, ledger: Ledger) -> list[str]:
        """Each request is counted, but for those that waited for a commit when the process was killed."""
        counted = sum(
            int(n) for series, n in ledger.counters.items() if series.family == catalog.REQUESTS.name
        )
        made, may_wait = self.api.requests, REQUESTS_WAITING + self.waiting_at_a_kill * self.life.fate.kills
        if made - may_wait <= counted <= made:
            return []
        return [f"{counted} requests are counted, {made} were made"]

    def _passes(self, message: Message) -> bool:
        """Whether the account's filters let the message through."""
        of_message = {
            "entityId": message.entity_id, "applicationId": message.application_id, "sender": message.sender,
        }  # fmt: skip
        return all(of_message[name] == value for name, value in self.world.filters.items())


@dataclass(frozen=True, slots=True)
class Before:
    """How things stood when a poll began."""

    at_ms: int
    run_s: float
    interval_s: float
    """Within which the poll should end, by the budget of that moment."""
    requests: int
    answered: int
    writes_failed: int


class WatchedFeed(Feed):
    """The real feed, each poll of which is looked at when it has ended."""

    lived: LivedFeed

    def watched_by(self, lived: LivedFeed) -> "WatchedFeed":
        self.lived = lived
        return self

    async def poll(self) -> None:
        lived = self.lived
        api = lived.api
        lived.guard.final_age_ms = lambda: self._situations.now().final_age_ms
        lived.guard.shown_final_age_ms = lambda: round(1000 * (self.snapshot.final_age_s or 0.0))
        before = Before(
            lived.time.now_ms(),
            lived.life.time.run_s,
            self.interval_s,
            api.requests,
            api.answered,
            lived.life.fate.writes_failed,
        )
        api.answered_well.clear()
        await super().poll()
        lived.polled(self, before)
        await lived.be_held_up()


def _left(in_flight: Mapping[Series, int]) -> list[str]:
    left = {series: messages for series, messages in in_flight.items() if messages}
    return [f"still in flight when everything has left the log: {left}"] if left else []
