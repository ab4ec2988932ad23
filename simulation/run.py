"""One run: a world, the process that lives in it, and what came of it."""

import sqlite3
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import cast
from unittest.mock import patch

from structlog.typing import FilteringBoundLogger

import infobip_exporter.feed.feed as feed_module
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed import Feed
from infobip_exporter.feed.time import Stopped
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.infobip.query import MAX_LIST_LENGTH, PAGE_LIMIT
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import InFlight
from infobip_exporter.reading import looks
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.sandbox import asked
from infobip_exporter.sandbox.faults import FaultyLog
from infobip_exporter.sandbox.log import SimulatedLog
from infobip_exporter.sandbox.message import Message
from infobip_exporter.sandbox.world import World
from simulation import check, oracle
from simulation.api import SimulatedApi
from simulation.check import Guard, WatchedLedger
from simulation.crash import Fate, Killed, MortalConnection
from simulation.scrapes import Scraper
from simulation.time import VirtualTime
from simulation.trace import Trace, TraceLog
from simulation.violation import Violated
from simulation.world import BEGINS_MS, FeedWorld, SimulatedWorld, draw

QUIET_GAP_S = 1800.0
"""How long a poll is put off where nothing happens: a process may be held up, and a run gets short by it."""
LEAVING_MS = 35 * 60_000
"""How long before leaving the log a message in flight is watched without such gaps."""
STRAY_MS = 62_000
SHORTEST_LISTS_PAGE = 150
"""The page whose share of the longest list still holds a few ids."""
MINUTE_MS = 60_000
REQUESTS_WAITING = 40
RESTART_AFTER_S = 5.0
LAST_UP_S = 600.0
"""The process is up at the end, so that what it has to tell is told."""


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
        # Small pages and short lists make small worlds do what large ones do.
        with (
            patch.object(feed_module, "PAGE_LIMIT", world.page_limit),
            patch.object(looks, "MAX_LIST_LENGTH", _shortened(MAX_LIST_LENGTH, world)),
            patch.object(asked, "LONGEST_LIST", _shortened(asked.LONGEST_LIST, world)),
        ):
            life.live()
        for lived in life.feeds:
            outcome.problems += lived.differences()
    except Violated as violated:
        outcome.problems.append(f"{life.now()}: {violated}")
        life.trace("VIOLATED", violated)
    except Exception:  # noqa: BLE001 - whatever it was, the seed that shows it is to be told
        outcome.problems.append(f"{life.now()}: the feed fell over\n{traceback.format_exc(limit=-6)}")
    for lived in life.feeds:
        outcome.messages += lived.messages()
        outcome.requests += lived.api.requests
        outcome.commits += lived.guard.commits
        outcome.polls += len(lived.polls)
        outcome.lost_ms += lived.guard.lost.total_ms
    outcome.kills = life.fate.kills
    return outcome


def _shortened(list_length: int, world: SimulatedWorld) -> int:
    return list_length * max(world.page_limit, SHORTEST_LISTS_PAGE) // PAGE_LIMIT


class Life:
    """The process, through all its deaths, and the database that outlives it."""

    def __init__(self, world: SimulatedWorld, write: Callable[[str], None] | None) -> None:
        self.world = world
        self.trace = Trace(write, self.now)
        self.rng = Random(f"life {world.seed}")
        self.fate = Fate(
            Random(f"fate {world.seed}"), self.trace, world.kill_every, world.most_kills, world.disk_full
        )
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        Store(self.connection, "memory").migrate()
        self.feeds = [LivedFeed(self, feed_world) for feed_world in world.feeds]

    def now(self) -> str:
        time = self.fate.time
        return f"{time.now_s:.3f}" if time is not None else "start"

    def live(self) -> None:
        """Poll each feed when its time has come, until all have reached their end."""
        self.begin()
        while waiting := [lived for lived in self.feeds if not lived.ended]:
            lived = min(waiting, key=lambda each: each.time.now_s)
            self.fate.time = lived.time
            try:
                lived.poll()
            except Stopped:
                lived.ended = True
            except Killed:
                left_s = min(each.time.ends_s - each.time.now_s for each in waiting)
                longest_s = max(0.0, min(self.world.longest_down_s, left_s - LAST_UP_S))
                self._down(self.rng.choice((0.0, longest_s * self.rng.random())))
                self.begin()

    def begin(self) -> None:
        """Start the process: everything it knows comes from the database."""
        for lived in self.feeds:
            while not lived.ended:
                self.fate.time = lived.time
                try:
                    lived.begin(
                        Store(
                            cast("sqlite3.Connection", MortalConnection(self.connection, self.fate)), "memory"
                        )
                    )
                    break
                except (LedgerError, Killed) as error:
                    self.trace("restart", error)
                    self._down(RESTART_AFTER_S)

    def _down(self, seconds: float) -> None:
        reboots = self.rng.random() < 0.3
        for lived in self.feeds:
            lived.time.advance(seconds)
            if reboots:
                lived.time.reboot()
            lived.ended = lived.ended or lived.time.now_s >= lived.time.ends_s


class LivedFeed:
    """One feed of the process, its world, and what is kept of it for the oracle."""

    def __init__(self, life: Life, feed_world: FeedWorld) -> None:
        seed = f"{life.world.seed} {feed_world.channel}"
        self.life = life
        self.world = feed_world
        self.time = VirtualTime(
            BEGINS_MS, feed_world.ends_s, steps=life.world.steps, api_steps=feed_world.api_steps
        )
        self.messages_of = World(
            feed_world.traffic,
            seed,
            begins_ms=feed_world.traffic_from_ms,
            ends_ms=feed_world.traffic_until_ms,
        )
        self.log = SimulatedLog(self.messages_of, feed_world.quirks, Random(f"log {seed}"))
        poll = life.world.config.poll
        self.api = SimulatedApi(
            log=FaultyLog(self.log, feed_world.faults, Random(f"faults {seed}")),
            time=self.time,
            fate=life.fate,
            rng=Random(f"network {seed}"),
            trace=life.trace,
            filters=feed_world.filters,
            timeout_s=poll.timeout_s,
            budget=feed_world.budget,
            dates=feed_world.dates,
            dates_rng=Random(f"dates {seed}"),
        )
        self.guard = Guard(
            self.time,
            self.api.witness,
            life.trace,
            late_ms=round(poll.late_arrival_s * 1000),
            rounded_ms=1 if feed_world.dates.missing_share == 1 else 0,
        )
        self.api.meanwhile = self._be_scraped
        self.scraper = Scraper(self.time, feed_world.hold_s)
        self._scrapes = Random(f"scrapes {seed}")
        self.polls: list[oracle.Poll] = []
        self.ended = False
        self.lives = 0
        self._last_sent_ms = feed_world.traffic_until_ms

    def begin(self, store: Store) -> None:
        self.lives += 1
        self.ledger = WatchedLedger(store, "main", self.world.channel, self.guard)
        self.scraper.begin(self.ledger)
        self.feed = Feed(
            "main",
            self.world.channel,
            self.life.world.config,
            self.world.budget,
            self.api,
            self.ledger,
            self.time,
            Random(f"feed {self.life.world.seed} {self.world.channel} {self.lives}"),
            cast("FilteringBoundLogger", TraceLog(self.life.trace)),
        )

    def poll(self) -> None:
        """A poll, and the wait for the next one."""
        began_s, began_ms = self.time.now_s, self.time.api_ms
        self.api.answered_well.clear()
        self.feed.poll()
        snapshot = self.feed.snapshot
        eager = snapshot.requests_last_minute >= 0.5 * snapshot.requests_per_minute
        well = bool(snapshot.up)
        self.polls.append(oracle.Poll(began_ms, self.time.api_ms, well, eager))
        if well:
            self.guard.poll_ended(self.feed._recorder.progress, began_ms)  # noqa: SLF001
        interval_s = self.life.world.config.poll.interval_s
        self._be_scraped()
        self.time.sleep(began_s + interval_s - self.time.now_s)
        if self._is_quiet():
            self.time.sleep(QUIET_GAP_S - interval_s)

    def _be_scraped(self) -> None:
        """Now and then: a scraper comes along, and what it was shown is saved."""
        if self._scrapes.random() < self.world.scrape_share:
            self.scraper.scrape(self.feed.snapshot)
        if self._scrapes.random() < self.world.scrape_share:
            with suppress(LedgerError):
                self.scraper.save_marks()

    def _is_quiet(self) -> bool:
        """Whether all that may still happen is that messages in flight settle, or leave in a while."""
        now_ms = self.time.api_ms
        late_ms = self.guard.late_ms + 2 * round(self.life.world.config.poll.interval_s * 1000)
        if now_ms < self._last_sent_ms + late_ms + 60_000:
            return False
        progress = self.ledger.progress
        if progress.unread or progress.open.total_ms > late_ms + 2000 * QUIET_GAP_S:
            return False
        leaves_ms = now_ms - LOG_KEEPS_MS
        return not self.ledger.in_flight_between(Span(0, leaves_ms + LEAVING_MS), 1)

    def messages(self) -> int:
        return sum(
            1 for _ in self.messages_of.between(self.world.traffic_from_ms, self.world.traffic_until_ms)
        )

    def differences(self) -> list[str]:
        """What the ledger says at the end that the world does not, and the other way round."""
        ledger = Ledger(Store(self.life.connection, "memory"), "main", self.world.channel)
        check.mirrors(ledger)
        check.conserves(ledger.counters, ledger.in_flight)
        begin_ms, frontier_ms = self.guard.begin_ms, ledger.progress.frontier_ms
        if begin_ms is None or frontier_ms is None:
            return [f"{self.world.channel}: never began"]
        evidence = oracle.Evidence(
            begin_ms=begin_ms,
            frontier_ms=frontier_ms,
            lost=self.guard.lost,
            witness=self.api.witness,
            polls=self.polls,
            interval_ms=round(self.life.world.config.poll.interval_s * 1000),
            label_cap=self.life.world.config.metrics.max_label_values,
            withheld=self.log.withheld,
            doubtful=self._doubtful(),
            short=bool(self.world.quirks.short_share),
        )
        inside = list(self.messages_of.between(begin_ms, frontier_ms))
        counted = [message for message in inside if self._passes(message)]
        others = [message for message in inside if not self._passes(message)]
        others += self.messages_of.between(begin_ms - STRAY_MS, begin_ms)
        problems = oracle.compare(counted, others, evidence, ledger.counters, ledger.histograms)
        problems += oracle.needless(inside, evidence, self.life.world.page_limit)
        problems += _left(ledger.in_flight)
        problems += self._uncounted_requests(ledger)
        return [f"{self.world.channel}: {problem}" for problem in problems]

    def _uncounted_requests(self, ledger: Ledger) -> list[str]:
        """Each request is counted, but for those that waited for a commit when the process was killed."""
        counted = sum(
            int(n) for series, n in ledger.counters.items() if series.family == catalog.REQUESTS.name
        )
        made, may_wait = self.api.requests, REQUESTS_WAITING * (self.life.fate.kills + 1)
        if made - may_wait <= counted <= made:
            return []
        return [f"{counted} requests are counted, {made} were made"]

    def _doubtful(self) -> SpanSet:
        """Sent time that was closed by the clock as it was before it was set back: a known limit."""
        noticed_ms = min(self.api.witness.noticed_ms, self.time.api_ms)
        return SpanSet(
            (
                after_ms - self.guard.late_ms - MINUTE_MS,
                round(max(before_ms, noticed_ms)) + check.NOTICED_FOR_MS,
            )
            for before_ms, after_ms in self.time.set_back()
        )

    def _passes(self, message: Message) -> bool:
        """Whether the account's filters let the message through."""
        of_message = {
            "entityId": message.entity_id, "applicationId": message.application_id, "sender": message.sender,
        }  # fmt: skip
        return all(of_message[name] == value for name, value in self.world.filters.items())


def _left(in_flight: Mapping[InFlight, int]) -> list[str]:
    return [f"still in flight when everything has left the log: {in_flight}"] if in_flight else []
